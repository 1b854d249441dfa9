import pytest
import torch

from kernels import causal_conv, two_scale_fir
from kernels.testing import relative_error

FORMS = [two_scale_fir.reference, two_scale_fir.pytorch]


def inputs(generator, *, time, taps=(3, 9), dtype=torch.float32):
    x = torch.randn(2, time, 5, generator=generator).to(dtype)
    short, long = (torch.randn(5, n, generator=generator) for n in taps)
    state = torch.randn(2, max(taps) - 1, 5, generator=generator)
    return [tensor.requires_grad_() for tensor in (x, short, long, state)]


@pytest.mark.parametrize("form", FORMS)
def test_an_impulse_reads_the_taps_backwards(form):
    x = torch.zeros(1, 4, 1)
    x[0, 0] = 1.0
    (short, long), state = form(x, torch.tensor([[2.0, 5.0]]), torch.tensor([[7.0, 8.0, 9.0]]))
    assert short.flatten().tolist() == [5.0, 2.0, 0.0, 0.0]
    assert long.flatten().tolist() == [9.0, 8.0, 7.0, 0.0]
    assert state is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("taps", [(3, 9), (9, 3), (1, 1)])
@pytest.mark.parametrize("time", [1, 4, 33])
def test_pytorch_form_agrees_with_the_definition(time, taps, dtype, generator):
    leaves = inputs(generator, time=time, taps=taps, dtype=dtype)
    x, short, long, state = leaves
    upstream = [torch.randn(x.shape, generator=generator).to(dtype) for _ in range(2)]
    results = []
    for form in FORMS:
        answer, final = form(x, short, long, initial_state=state, output_final_state=True)
        assert final.dtype == torch.float32
        assert answer.long.dtype == dtype
        gradients = torch.autograd.grad([*answer, final], leaves, [*upstream, torch.ones_like(final)])
        results.append([*answer, final, *gradients])
    worst = max(relative_error(found, truth) for truth, found in zip(*results, strict=True) if truth.numel())
    assert worst < (1e-5 if dtype == torch.float32 else 2.0**-8)


@pytest.mark.parametrize("form", [*FORMS, causal_conv.recurrence, causal_conv.direct])
def test_gradients_of_narrow_filters_add_up_over_time_in_full_precision(form, generator):
    """The definition is what others are judged by: it may round its answer, not its sums."""
    both = form in FORMS
    given = [torch.randn(5, taps, generator=generator).bfloat16() for taps in ((3, 9) if both else (4,))]
    x, upstream = (torch.randn(2, 1000, 5, generator=generator).bfloat16() for _ in range(2))
    gradients = []
    for dtype in (torch.float64, torch.bfloat16):
        filters = [weight.to(dtype).requires_grad_() for weight in given]
        out = form(x.to(dtype), *filters)[0]
        outputs = list(out) if both else [out]
        gradients.append(torch.autograd.grad(outputs, filters, [upstream.to(dtype)] * len(outputs)))
    assert max(relative_error(found, truth) for truth, found in zip(*gradients, strict=True)) < 2.0**-8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_sequence_may_be_cut_anywhere_and_continued_from_its_state(form, cut, generator):
    x, short, long, _ = inputs(generator, time=33)
    whole, last = form(x, short, long, output_final_state=True)
    first, state = form(x[:, :cut], short, long, output_final_state=True)
    second, end = form(x[:, cut:], short, long, initial_state=state, output_final_state=True)
    for parts, at_once in zip(zip(first, second, strict=True), whole, strict=True):
        torch.testing.assert_close(torch.cat(parts, 1), at_once)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize("form", FORMS)
def test_future_inputs_cannot_change_outputs(form, generator):
    x, short, long, _ = inputs(generator, time=33)
    changed = torch.cat([x[:, :20], 1e4 * x[:, 20:]], 1)
    before, _ = form(x, short, long)
    after, _ = form(changed, short, long)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[:, :20], new[:, :20])
