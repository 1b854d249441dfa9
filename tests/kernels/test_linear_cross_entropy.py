import pytest
import torch

from kernels.linear_cross_entropy import IGNORED, chunked, definition, linear_cross_entropy
from kernels.testing import agreement, poisoned_memory


def _case(generator, num=37, dtype=torch.float64):
    targets = torch.randint(0, 50, (num,), generator=generator)
    targets[::5] = IGNORED
    inputs = {
        "hidden": torch.randn(num, 8, generator=generator, dtype=torch.float64).to(dtype),
        "weight": torch.randn(50, 8, generator=generator, dtype=torch.float64).to(dtype),
    }
    return inputs, targets


@pytest.mark.parametrize("most_logits", [1, 50, 51, 500, 10_000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_loss_and_gradients_are_those_of_the_definition(most_logits, dtype, tolerance, generator):
    inputs, targets = _case(generator, dtype=dtype)
    with poisoned_memory():
        found = agreement(
            definition,
            lambda hidden, weight, targets: chunked(hidden, weight, targets, most_logits=most_logits),
            inputs,
            targets=targets,
        )
    assert found.worst < tolerance


def test_ignored_targets_count_for_nothing(generator):
    inputs, targets = _case(generator)
    kept = targets != IGNORED
    hidden, weight = inputs.values()
    torch.testing.assert_close(chunked(hidden, weight, targets), definition(hidden[kept], weight, targets[kept]))


def test_autocast_makes_products_narrow_and_keeps_the_loss_wide(generator):
    inputs, targets = _case(generator, dtype=torch.float32)
    hidden, weight = (x.requires_grad_() for x in inputs.values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked(hidden, weight, targets)
    loss.backward()
    assert loss.dtype == weight.grad.dtype == torch.float32
    exact = definition(hidden, weight, targets).item()
    assert abs(loss.item() - exact) < 0.02 * exact
    assert loss.item() != exact


def test_few_logits_are_computed_in_one_go_and_many_in_chunks(generator, monkeypatch):
    inputs, targets = _case(generator)
    hidden, weight = inputs.values()
    one = linear_cross_entropy(hidden, weight, targets)
    monkeypatch.setattr("kernels.linear_cross_entropy._MOST_LOGITS", 100)
    many = linear_cross_entropy(hidden.requires_grad_(), weight, targets)
    assert "_Chunked" in type(many.grad_fn).__name__
    torch.testing.assert_close(many, one)
