"""Every baseline and discovery is a valid candidate and what its paper says."""

import ast
from importlib import import_module

import pytest
import torch

from models.backbone import LanguageModel, fit_ffn_width, non_embedding_parameters, reference_parameters
from models.cost import tensor_bytes
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import SLOTS, published_source

SLOT = "token_mixer"
PUBLISHED = SLOTS[SLOT].published
every_baseline = pytest.mark.parametrize("name", PUBLISHED)


def _mixer(name, hidden_size=32, num_heads=2, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return load_mixer(published_source(SLOT, name))(hidden_size, num_heads, layer_idx=0).to(dtype)


def _perturb(mixer):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


@every_baseline
def test_imports_nothing_but_what_candidates_may(name):
    allowed = {"torch", "math", "einops", "kernels", "typing"}
    imported = set()
    for node in ast.walk(ast.parse(published_source(SLOT, name))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
            assert not node.module.startswith("kernels") or node.module == "kernels.dispatch"
    assert imported <= allowed


@every_baseline
def test_docstring_names_paper_and_equation(name):
    folder = "discoveries" if name in SLOTS[SLOT].discoveries else "baselines"
    text = import_module(f"models.{folder}.{name}").__doc__
    assert "arXiv" in text
    assert "S_t = " in text or name in SLOTS[SLOT].ceilings


@every_baseline
@pytest.mark.parametrize("cut", [1, 16, 65, 100])
@pytest.mark.parametrize("size", [0.01, 100.0])
def test_resampled_suffix_cannot_change_the_prefix(name, cut, size):
    mixer = _mixer(name)
    _perturb(mixer)
    first = torch.randn(2, 130, 32)
    second = torch.cat([first[:, :cut], size * torch.randn(2, 130 - cut, 32)], 1)
    before, after = mixer(first), mixer(second)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, cut:], after[:, cut:])


@every_baseline
def test_every_step_reads_an_early_one(name):
    mixer = _mixer(name, dtype=torch.float64).eval()  # in training a penalty may reach every step
    x = torch.randn(1, 40, 32, dtype=torch.float64, requires_grad=True)
    mixer(x)[0, -1].square().sum().backward()
    assert (x.grad[0].abs().amax(-1) > 0).all()


@every_baseline
@pytest.mark.parametrize("time", [1, 2, 7, 65])
def test_any_length_gives_one_output_per_step(name, time):
    x = torch.randn(3, time, 32)
    out = _mixer(name)(x)
    assert out.shape == x.shape
    assert torch.isfinite(out).all()


@every_baseline
def test_a_prefix_alone_gives_the_same_outputs(name):
    mixer = _mixer(name, dtype=torch.float64)
    x = torch.randn(1, 70, 32, dtype=torch.float64)
    whole = mixer(x)
    for time in (1, 2, 31, 64, 69):
        torch.testing.assert_close(mixer(x[:, :time]), whole[:, :time])


@every_baseline
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("perturbed", [False, True])
def test_every_parameter_gets_a_finite_gradient(name, dtype, perturbed):
    mixer = _mixer(name, dtype=dtype)
    if perturbed:
        _perturb(mixer)
    mixer(torch.randn(2, 33, 32, dtype=dtype)).square().sum().backward()
    for parameter_name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_baseline
def test_output_starts_on_a_sane_scale(name):
    out = _mixer(name, hidden_size=64, num_heads=4)(torch.randn(4, 128, 64))
    rms_of_step = out.square().mean((0, 2)).sqrt()
    assert rms_of_step.min() > 0.005
    assert rms_of_step.max() < 2.0


@every_baseline
def test_seed_decides_the_weights(name):
    first, same, other = _mixer(name, seed=3), _mixer(name, seed=3), _mixer(name, seed=4)
    for a, b in zip(first.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@every_baseline
@pytest.mark.parametrize(("hidden_size", "num_heads", "ffn_width"), [(64, 4, 176), (256, 8, 688)])
def test_host_can_match_the_reference_within_two_percent(name, hidden_size, num_heads, ffn_width):
    size = ModelSize(num_layers=2, hidden_size=hidden_size, num_heads=num_heads, ffn_width=ffn_width, vocab_size=256)
    target = reference_parameters(size, SLOT)
    mixer_class = load_mixer(published_source(SLOT, name))
    model = LanguageModel(size, mixer_class, fit_ffn_width(mixer_class, size, target))
    assert abs(non_embedding_parameters(model.state_dict()) / target - 1) < 0.02


@pytest.mark.parametrize(("name", "operator"), [("delta_net", "delta_rule"), ("gated_delta_net", "gated_delta_rule")])
def test_delta_networks_hand_over_unit_keys_and_bounded_gates(name, operator, monkeypatch):
    module = import_module(f"models.baselines.{name}")
    seen = {}

    def spy(q, k, v, *gates):
        seen.update(q=q, k=k, gates=gates)
        return v

    monkeypatch.setattr(module, operator, spy)
    torch.manual_seed(0)
    module.TokenMixer(32, 2).double()(3 * torch.randn(2, 9, 32, dtype=torch.float64))
    for x in (seen["q"], seen["k"]):
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(2, 9, 2, dtype=torch.float64))
    *decays, beta = seen["gates"]
    assert all((g < 0).all() for g in decays)
    assert ((beta > 0) & (beta < 1)).all()


def test_gated_delta_net_starts_with_memories_of_many_lengths():
    mixer = _mixer("gated_delta_net", hidden_size=256, num_heads=64)
    decay = -mixer.A_log.exp() * torch.nn.functional.softplus(mixer.dt_bias)
    assert decay.min() > -1.7
    assert decay.max() < -0.0009
    assert decay.max() / decay.min() < 0.1


def test_linear_attention_averages_values():
    mixer = _mixer("linear_attention", dtype=torch.float64)
    x = torch.randn(1, 1, 32, dtype=torch.float64).expand(1, 50, 32)
    torch.testing.assert_close(mixer(x), mixer(x[:, :1]).expand(1, 50, 32), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if hasattr(_mixer(name), "v_proj")])
def test_heads_are_separate_memories(name):
    """Values of one head reach the output through that head's columns of the output map alone."""
    mixer = _mixer(name, dtype=torch.float64)
    x = torch.randn(1, 20, 32, dtype=torch.float64)
    with torch.no_grad():
        mixer.o_proj.weight[:, 16:] = 0.0
        before = mixer(x)
        mixer.v_proj.weight[16:].add_(1.0)
    torch.testing.assert_close(mixer(x), before)


@every_baseline
def test_decoding_step_by_step_gives_what_the_whole_gives(name):
    mixer = _mixer(name, dtype=torch.float64).eval()
    _perturb(mixer)
    x = torch.randn(2, 40, 32, dtype=torch.float64)
    state, steps = None, []
    with torch.no_grad():
        for x_BD in x.unbind(1):
            y, state = mixer.step(x_BD, state)
            steps.append(y)
        torch.testing.assert_close(torch.stack(steps, 1), mixer(x))


@pytest.mark.parametrize("name", [*SLOTS[SLOT].baselines, *SLOTS[SLOT].discoveries])
def test_the_stated_state_is_the_one_that_decoding_carries(name):
    mixer = _mixer(name).eval()
    state = None
    with torch.no_grad():
        for _ in range(3):
            _, state = mixer.step(torch.randn(1, 32), state)
    assert tensor_bytes(state) == mixer.state_bytes()


def test_only_the_ceiling_grows_with_the_sequence():
    assert all(hasattr(_mixer(name), "state_bytes") == (name not in SLOTS[SLOT].ceilings) for name in PUBLISHED)
    mixer, state, sizes = _mixer("softmax_attention"), None, []
    with torch.no_grad():
        for _ in range(4):
            _, state = mixer.step(torch.randn(1, 32), state)
            sizes.append(tensor_bytes(state))
    assert sizes == [256, 512, 768, 1024]


def test_rotation_makes_scores_depend_on_distance_alone():
    for name in ("softmax_attention", "retnet"):
        rotated = import_module(f"models.baselines.{name}").rotated
        axis = 2 if name == "softmax_attention" else 1
        shape = [1, 1, 1, 9]
        q, k = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
        repeated = [4 if dim == axis else 1 for dim in range(4)]
        q, k = q.repeat(repeated), k.repeat(repeated)
        for start in (0, 7):
            turned_q, turned_k = rotated(q, start).squeeze(), rotated(k, start + 3).squeeze()
            scores = turned_q @ turned_k.T
            torch.testing.assert_close(scores[0, 0], scores[2, 2])
            assert abs(scores[0, 0] - scores[0, 2]) > 1e-3


@pytest.mark.parametrize(("name", "axis"), [("softmax_attention", 2), ("retnet", 1)])
@pytest.mark.parametrize("width", [1, 2, 8, 9])
def test_rotation_turns_each_pair_of_channels_by_its_own_angle(name: str, axis: int, width: int):
    x = torch.randn(2, 3, 3, width, dtype=torch.float64)
    found = import_module(f"models.baselines.{name}").rotated(x, 5).movedim(axis, 0)
    half = width // 2
    for position, (turned, plain) in enumerate(zip(found, x.movedim(axis, 0), strict=True), 5):
        for pair in range(half):
            angle = torch.tensor(position * 10_000.0 ** (-pair / half), dtype=torch.float64)
            expected = torch.complex(plain[..., pair], plain[..., half + pair]) * torch.exp(1j * angle)
            torch.testing.assert_close(torch.complex(turned[..., pair], turned[..., half + pair]), expected)
        assert torch.equal(turned[..., 2 * half :], plain[..., 2 * half :])


def test_every_parameter_is_matched_in_the_sizes_of_the_literature():
    size = ModelSize(num_layers=1, hidden_size=1024, num_heads=8, ffn_width=2736, vocab_size=256)
    target = reference_parameters(size, SLOT)
    for name in PUBLISHED:
        fit_ffn_width(load_mixer(published_source(SLOT, name)), size, target)  # raises CannotFit
