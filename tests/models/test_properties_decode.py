"""Decoding token by token, against the parallel form and with its state weighed."""

from __future__ import annotations

import pytest

from cognition.records import Property
from models.properties import Examination
from models.scale import ModelSize

from .conftest import TOY, gate, swapped

STEP = """
    def step(self, x, state=None):
        value = self.value(x)
        if state is None:
            state = (value.new_zeros(*value.shape, 4), torch.zeros_like(value), 0)
        window = torch.cat([state[0][..., 1:], value[..., None]], -1)
        value = (window * self.taps[:, 0]).sum(-1)
        total, count = state[1] + value, state[2] + 1
        return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * total / count)), (window, total, count)

    def state_bytes(self):
        return 4 * 5 * self.gain.numel()
"""
OWN = TOY[TOY.index("\n    def state_bytes") :]
STEPPED = swapped(OWN, STEP)


def decode(found: Examination) -> Property | None:
    return next((item for item in found.properties if item.name == "decode"), None)


def test_steps_that_equal_the_parallel_form_pass_with_their_measured_state(size: ModelSize):
    found = gate(STEPPED, size)
    assert found.passed
    item = decode(found)
    assert item is not None
    assert item.figure is not None
    assert item.figure < 1e-12
    assert found.state_bytes == 4 * 5 * 32


def test_the_measured_state_stands_where_nothing_is_stated(size: ModelSize):
    silent = STEPPED[: STEPPED.index("    def state_bytes")]
    assert gate(silent, size).state_bytes == 4 * 5 * 32


def test_decode_is_not_reported_where_it_is_not_offered(size: ModelSize):
    assert decode(gate(TOY, size)) is None
    refusing = STEPPED.replace(
        "value = self.value(x)\n        if state is None", "raise NotImplementedError\n        if 1"
    )
    assert refusing != STEPPED
    assert gate(refusing, size).passed
    assert decode(gate(refusing, size)) is None


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ("state[1] + value", "0.999 * state[1] + value", "differ from the parallel form"),
        ("(window, total, count)\n", "(window, total, count + 1e-7)\n", "differ from the parallel form"),
        ("(window, total, count)\n", "[window]\n", "IndexError"),
        ("return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * total / count)), ", "return ", "step"),
        ("4 * 5 * self", "4 * self", "state_bytes() says 128"),
        (
            "(window, total, count)\n",
            "(window, total, count, torch.cat([*state[3:], x]))\n",
            "keep one of bounded size",
        ),
    ],
)
def test_steps_with_a_fault_are_refused(size: ModelSize, old: str, new: str, detail: str):
    assert old in STEPPED
    item = decode(gate(STEPPED.replace(old, new), size))
    assert item is not None
    assert not item.passed
    assert detail in item.detail


def test_a_window_that_fills_up_is_bounded(size: ModelSize):
    growing = STEPPED.replace("(window, total, count)\n", "(window, total, count, [*state[3:][0:1], x][-1:])\n")
    filling = growing.replace("[*state[3:][0:1], x][-1:]", "([*state[3], x] if len(state) > 3 else [x])[-100:]")
    silent = filling[: filling.index("    def state_bytes")]
    found = gate(silent, size)
    assert found.passed, decode(found)
    assert found.state_bytes == 4 * 32 * (5 + 100)
