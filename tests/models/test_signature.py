"""The operator graph of a traced pass: what leaves no trace in it, and what does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.loading import load_mixer
from models.signature import NUM_SKETCH, layout_of, signature
from models.slots import SLOTS, published_source
from models.tracing import MOST_NODES, TraceTooLarge, trace

WIDTH, HEADS = 32, 2
MIXER = '''
import torch
from torch import nn
import torch.nn.functional as F
from kernels.dispatch import gated_delta_rule, rms_norm_gated


class TokenMixer(nn.Module):
    """A gated delta rule with three projections, gates and a norm."""

    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.heads, self.dim = num_heads, hidden_size // num_heads
        self.q = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v = nn.Linear(hidden_size, hidden_size, bias=False)
        self.a = nn.Linear(hidden_size, num_heads, bias=False)
        self.b = nn.Linear(hidden_size, num_heads)
        self.o = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        q, k, v = F.silu(self.q(x)), F.silu(self.k(x)), F.silu(self.v(x))
        q, k, v = (y.view(*x.shape[:2], self.heads, self.dim) for y in (q, k, v))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        g, beta = -F.softplus(self.a(x)) * 0.5, torch.sigmoid(self.b(x))
        return self.o(gated_delta_rule(q, k, v, g, beta).flatten(2))
'''


def swapped(*pairs: tuple[str, str]) -> str:
    source = MIXER
    for old, new in pairs:
        assert old in source
        source = source.replace(old, new)
    return source


def sketch(source: str) -> np.ndarray:
    found = signature(load_mixer(source)(WIDTH, HEADS), WIDTH).sketch
    assert len(found) == NUM_SKETCH
    return np.array(found)


def distance(one: str, other: str) -> float:
    a, b = sketch(one), sketch(other)
    return float(np.linalg.norm(a - b) / np.sqrt(a @ a + b @ b))


THREE = (
    "        self.q = nn.Linear(hidden_size, hidden_size, bias=False)\n"
    "        self.k = nn.Linear(hidden_size, hidden_size, bias=False)\n"
    "        self.v = nn.Linear(hidden_size, hidden_size, bias=False)\n"
)
FUSED = ("F.silu(self.q(x)), F.silu(self.k(x)), F.silu(self.v(x))", "F.silu(self.qkv(x)).chunk(3, -1)")
SAME = {
    "renamed": swapped(("self.q", "self.probe"), ("self.heads", "self.n")),
    "one projection instead of three": swapped(
        (THREE, "        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)\n"), FUSED
    ),
    "one projection, cut by hand": swapped(
        (THREE, "        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)\n"),
        (FUSED[0], "(F.silu(y) for y in self.qkv(x).view(*x.shape[:2], 3, -1).unbind(2))"),
    ),
    "silu written out": swapped((FUSED[0], "(y * torch.sigmoid(y) for y in (self.q(x), self.k(x), self.v(x)))")),
    "a constant divided by": swapped(("* 0.5", "/ 2")),
    "a smaller epsilon": swapped(("F.normalize(q, dim=-1)", "F.normalize(q, dim=-1, eps=1e-6)")),
    "a cast and a factor of one": swapped(
        ("return self.o(", "return 1.0 * self.o(0.0 + 1.0 * "), ("v = (y.view", "v = (y.float().view")
    ),
    "commuted": swapped(("-F.softplus(self.a(x)) * 0.5", "0.5 * -F.softplus(self.a(x))")),
    "norm by hand": swapped(
        ("F.normalize(k, dim=-1)", "k / k.pow(2).sum(-1, keepdim=True).sqrt().clamp_min(1e-12)"),
    ),
    "bias added by hand": swapped(("self.b(x))", "x @ self.b.weight.T + self.b.bias)")),
    "written in place": swapped(("torch.sigmoid(self.b(x))", "self.b(x).sigmoid_()")),
}  # fmt: skip


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_what_computes_the_same_operators_in_the_same_places_is_the_same(source: str) -> None:
    assert source != MIXER
    assert distance(MIXER, source) < 1e-6


def test_a_constant_is_seen_and_is_a_small_part_of_the_structure() -> None:
    assert 0.03 < distance(MIXER, swapped(("* 0.5", "* 0.25"))) < 0.15


OTHER = {
    "another gate": swapped(("torch.sigmoid(self.b", "torch.tanh(self.b")),
    "another operator": swapped(
        ("gated_delta_rule(q, k, v, g, beta)", "simple_gla(q, k, v * beta[..., None], g)"),
        ("import gated_delta_rule", "import simple_gla"),
    ),
    "another operator behind it": swapped(
        ("self.o(gated", "self.o(rms_norm_gated(v, v, self.q.weight[0, :16]).flatten(2) + gated")
    ),
    "exchanged roles": swapped(("gated_delta_rule(q, k, v,", "gated_delta_rule(k, v, q,")),
    "an extra path": swapped(("g, beta).flatten(2))", "g, beta).flatten(2) + x)")),
    "no norm": swapped(("F.normalize(q, dim=-1), F.normalize(k, dim=-1)", "q, k")),
    "a gate in front of the other side": swapped(("self.o(gated", "self.o(torch.sigmoid(self.q(x)) * gated")),
}  # fmt: skip


def test_an_option_of_an_operator_is_seen() -> None:
    normed = OTHER["another operator behind it"]
    assert distance(normed, normed.replace("[0, :16])", "[0, :16], activation='sigmoid')")) > 0.1


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER)
def test_another_operator_or_arrangement_is_apart(source: str) -> None:
    assert distance(MIXER, source) > 0.1


def test_the_distance_says_how_much_two_graphs_share() -> None:
    small = distance(MIXER, OTHER["another gate"])
    large = distance(MIXER, published_source("token_mixer", "softmax_attention"))
    assert 0.1 < small < 0.6 < large <= 1


def test_operators_of_ours_are_one_node_with_their_options() -> None:
    traced = trace(load_mixer(published_source("token_mixer", "gated_delta_net"))(WIDTH, HEADS), WIDTH)
    ops = [node.op for node in traced.nodes]
    assert ops.count("gated_delta_rule") == 1
    assert ops.count("causal_conv") == 3
    assert ops.count("rms_norm_gated[activation=swish]") == 1
    assert len(ops) < 60


@pytest.mark.parametrize("name", SLOTS["token_mixer"].published)
def test_every_published_mixer_has_a_structure_of_its_own(name: str) -> None:
    others = [other for other in SLOTS["token_mixer"].published if other != name]
    own = published_source("token_mixer", name)
    assert all(distance(own, published_source("token_mixer", other)) > 0.2 for other in others[:4])


def test_layouts_forget_names_and_order_and_nothing_else() -> None:
    assert layout_of([(2, 3), (4,)]) == layout_of([(4,), (2, 3)])
    assert len({layout_of(shapes) for shapes in ([(2, 3)], [(3, 2)], [(6,)], [(2, 3), (4,)], [])}) == 5


class Hostile(nn.Module):
    def __init__(self, work) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.work = work

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.work(self, x)  # type: ignore[no-any-return]


def endless(mixer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    while True:
        x = x.sin()


def endless_views(mixer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    while True:
        x = x.transpose(0, 1)


def raising(mixer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    raise KeyError(mixer)


@pytest.mark.parametrize("work", [endless, endless_views, raising, lambda mixer, x: "no tensor"])
def test_a_pass_that_cannot_be_traced_leaves_the_layout_alone(work: object) -> None:
    found = signature(Hostile(work), WIDTH)
    assert found.sketch == ()
    assert found.layout == layout_of([(3,)])


def test_a_trace_has_an_end() -> None:
    with pytest.raises(TraceTooLarge, match=str(MOST_NODES)):
        trace(Hostile(endless), WIDTH)
