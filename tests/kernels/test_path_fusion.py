import math

import pytest
import torch

from kernels import path_fusion
from kernels.testing import relative_error

GATES = {"softmax": (), "sigmoid": (), "two_stage": (1, 2)}


def inputs(generator, *, gate="softmax", dtype=torch.float64, time=5):
    num_logits = 3 + len(GATES[gate])
    paths = [torch.randn(2, time, 2, 7, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    logits = torch.randn(2, time, 2, num_logits, generator=generator).to(dtype).requires_grad_()
    temperature = (torch.rand(2, generator=generator) + 0.5).to(dtype).requires_grad_()
    floor = (torch.rand(2, 3, generator=generator) / 10).to(dtype).requires_grad_()
    return paths, logits, temperature, floor


def weights(logits, **options):
    return path_fusion.path_weights(torch.tensor(logits, dtype=torch.float64).view(1, 1, 1, -1), **options).flatten()


def test_softmax_weights_are_shares_of_what_the_floors_leave():
    found = weights([0.0, math.log(3.0)], floor=0.1)
    torch.testing.assert_close(found, torch.tensor([0.1 + 0.8 / 4, 0.1 + 0.8 * 3 / 4], dtype=torch.float64))


def test_sigmoid_weights_are_independent_and_may_all_be_open():
    found = weights([0.0, 100.0, 100.0], gate="sigmoid", floor=0.2)
    torch.testing.assert_close(found, torch.tensor([0.2 + 0.8 / 2, 1.0, 1.0], dtype=torch.float64))


def test_two_stage_weights_multiply_the_budget_of_a_group_by_the_share_within_it():
    found = weights([0.0, math.log(4.0), 7.0, math.log(2.0), 0.0], gate="two_stage", groups=(1, 2))
    torch.testing.assert_close(found, torch.tensor([1 / 5, 4 / 5 * 2 / 3, 4 / 5 / 3], dtype=torch.float64))


def test_a_low_temperature_sharpens_only_its_own_head():
    logits = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
    cold, even = path_fusion.path_weights(logits, temperature=torch.tensor([0.01, 1.0]))[0, 0]
    torch.testing.assert_close(cold, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(even, torch.tensor([0.0, 1.0]).softmax(0))


@pytest.mark.parametrize("gate", ["softmax", "two_stage"])
def test_weights_of_a_shared_budget_sum_to_one_whatever_the_floors(gate, generator):
    _, logits, temperature, floor = inputs(generator, gate=gate)
    found = path_fusion.path_weights(logits, gate=gate, groups=GATES[gate], temperature=temperature, floor=floor)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 5, 2, dtype=torch.float64))
    assert bool((found >= floor).all())


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1), (2, 5, 2, 3)])
@pytest.mark.parametrize("gate", GATES)
def test_a_floor_of_any_shape_that_broadcasts_counts_as_its_expansion(gate, shape, generator):
    paths, logits, _, _ = inputs(generator, gate=gate)
    floor = torch.rand(shape, generator=generator, dtype=torch.float64) / 10
    options = {"gate": gate, "groups": GATES[gate]}
    path_fusion.check(paths, logits, floor=floor, **options)
    expanded = path_fusion.path_weights(logits, floor=floor.expand(2, 5, 2, 3), **options)
    torch.testing.assert_close(path_fusion.path_weights(logits, floor=floor, **options), expanded)


@pytest.mark.parametrize("gate", GATES)
def test_gradients_flow_into_paths_logits_temperature_and_floor(gate, generator):
    paths, logits, temperature, floor = inputs(generator, gate=gate, time=2)

    def fuse(logits, temperature, floor, *paths):
        options = {"gate": gate, "groups": GATES[gate], "temperature": temperature, "floor": floor}
        return path_fusion.pytorch(paths, logits, **options)

    assert torch.autograd.gradcheck(fuse, (logits, temperature, floor, *paths))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gate", GATES)
def test_pytorch_form_agrees_with_the_definition(gate, dtype, generator):
    paths, logits, temperature, floor = inputs(generator, gate=gate, dtype=dtype)
    leaves = [*paths, logits, temperature, floor]
    upstream = torch.randn(paths[0].shape, generator=generator).to(dtype)
    results = []
    for form in (path_fusion.reference, path_fusion.pytorch):
        out = form(paths, logits, gate=gate, groups=GATES[gate], temperature=temperature, floor=floor)
        assert out.dtype == dtype
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    worst = max(relative_error(found, truth) for truth, found in zip(*results, strict=True))
    assert worst < (1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": "argmax"}, r"gate='argmax' is none of softmax, sigmoid, two_stage"),
        ({"groups": (1, 2)}, r"groups=\(1, 2\) is for gate='two_stage', not 'softmax'"),
        ({"gate": "two_stage"}, r"groups=\(\) hold 0 paths; they have to sum to the 3 given"),
        ({"gate": "two_stage", "groups": (1, 3)}, r"groups=\(1, 3\) hold 4 paths; .* the 3 given"),
        ({"gate": "two_stage", "groups": (3, 0)}, r"groups=\(3, 0\); two_stage needs .* at least one path in each"),
        ({"gate": "two_stage", "groups": (1, 2)}, r"logits have 3 entries a head; .* 2 budgets \+ 3 paths = 5"),
        ({"floor": 0.4}, r"floor=0.4; the floors of 3 paths sum to at most 1: give a number between 0 and 0.333333"),
        ({"floor": -0.1}, r"floor=-0.1; .*between 0 and"),
        ({"floor": 1.5, "gate": "sigmoid"}, r"floor=1.5; a weight is at most 1"),
        ({"floor": torch.zeros(4)}, r"floor has shape \[4\]; it has to broadcast to \[2, 5, 2, 3\]"),
        ({"temperature": 0.0}, r"temperature=0.0; it divides the logits: give a number above 0"),
        ({"temperature": torch.ones(3)}, r"temperature has shape \[3\]; give a number or one per head, \[2\]"),
        ({"paths": []}, r"paths is empty"),
        ({"paths": [torch.zeros(2, 5, 2, 7), torch.zeros(2, 5, 2, 8)]}, r"all have to be the same \[B, T, H, V\]"),
        ({"paths": [torch.zeros(2, 5, 2, 7)] * 4}, r"logits have 3 entries a head; .* of 4 paths takes as many"),
        (
            {"logits": torch.zeros(2, 4, 2, 3)},
            r"logits have shape \[2, 4, 2, 3\]; for these paths give \[2, 5, 2, 'L'\]",
        ),
        ({"logits": torch.zeros(2, 5, 2, 3, dtype=torch.int64)}, r"logits has dtype torch.int64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_a_remedy(change, message, generator):
    paths, logits, _, _ = inputs(generator)
    arguments = {"paths": paths, "logits": logits}
    path_fusion.check(**arguments)
    with pytest.raises(ValueError, match=message):
        path_fusion.check(**(arguments | change))
