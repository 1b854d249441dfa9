"""The hostile suite's programs: read from tests/trust/hostile, completed to candidates, and named by what they expect.

Each file is the part of a candidate that misbehaves. It starts with a docstring of one sentence and a few fields:

    step: gate | trial | gate, trial     where it acts: examined, trained and evaluated, or both
    expect: WORD, ...                    which ends are contained; see the test for the words
    policy: refuses | cannot see, REASON
    deadline_s: SECONDS                  for those that may hang; the others end long before
    stage: with a probe                  where a trial needs a second task

HEAD and TAIL make a candidate of it. In between a program may call `escaped` when it got what it must not get, and
`attempt`, which calls it when an action succeeds, and goes on honestly when it is refused; `quietly` is for what may be
refused or not. A program that defines
`at_forward` acts at every forward pass. Names in capitals stand for bait that the test has laid out.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("hostile")
ESCAPED = "ESCAPED"

HEAD = f'''
import torch
from torch import nn


def escaped(what):
    print("{ESCAPED}", what, flush=True)
    raise SystemExit("{ESCAPED}: " + what)


def attempt(what, action):
    try:
        action()
    except Exception:
        return
    escaped(what)


def quietly(action, *arguments):
    try:
        return action(*arguments)
    except OSError:
        return None


def at_forward(mixer, x):
    pass


'''
TAIL = """

class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        x = x.clone()
        at_forward(self, x)
        steps = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return self.proj(x.cumsum(1) / steps)

    def state_bytes(self):
        return 4 * self.proj.weight.shape[0]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One hostile program and what counts as its containment."""

    name: str
    purpose: str
    steps: tuple[str, ...]
    expected: frozenset[str]
    policy: str  # "refuses", or why it cannot see
    deadline_s: float
    with_probe: bool
    text: str

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def seen_by_policy(self) -> bool:
        return self.policy == "refuses"

    def source(self, bait: Mapping[str, str | int]) -> str:
        """The candidate, with the bait's names filled in."""
        return "".join(f"{name} = {value!r}\n" for name, value in bait.items()) + HEAD + self.text + TAIL


def honest_source(bait: Mapping[str, str | int]) -> str:
    """The candidate that remains when nothing hostile is in it."""
    return "".join(f"{name} = {value!r}\n" for name, value in bait.items()) + HEAD + TAIL


def programs() -> dict[str, Program]:
    """All of them by name, in a fixed order."""
    paths = sorted(FOLDER.rglob("*.py"))
    return {program.name: program for program in map(_read, paths)}


def _read(path: Path) -> Program:
    text = path.read_text()
    lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    return Program(
        name=path.relative_to(FOLDER).with_suffix("").as_posix(),
        purpose=lines[0],
        steps=tuple(fields.pop("step").split(", ")),
        expected=frozenset(fields.pop("expect").split(", ")),
        policy=fields.pop("policy"),
        deadline_s=float(fields.pop("deadline_s", 60)),
        with_probe=fields.pop("stage", "") == "with a probe",
        text=text,
    )
