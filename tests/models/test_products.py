"""Products by oneDNN are those of torch, whatever their layout; what it is not made for goes the usual way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


def _dense(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns)


LAYOUTS = {
    "dense": _dense,
    "transposed": lambda rows, columns: _dense(columns, rows).t(),
    "every second column": lambda rows, columns: _dense(rows, 2 * columns)[:, ::2],
    "one row over and over": lambda rows, columns: _dense(1, columns).expand(rows, columns),
    "columns of a wider one": lambda rows, columns: _dense(rows, columns + 8)[:, 3 : columns + 3],
}


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("shape", [(2048, 64, 152), (64, 2048, 64), (5, 3, 2), (1, 4096, 512)])
def test_products_are_those_of_torch_in_every_layout(left: str, right: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    rows, summed, columns = shape
    one, other = LAYOUTS[left](rows, summed), LAYOUTS[right](summed, columns)
    truth = one.double() @ other.double()
    torch.testing.assert_close(products.product(one, other).double(), truth, rtol=0, atol=1e-5 * float(truth.std()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_types_go_the_usual_way(dtype: torch.dtype) -> None:
    one, other = (_dense(256, 256).mul(4).to(dtype) for _ in range(2))
    assert torch.equal(products.product(one, other), one @ other)


@pytest.mark.parametrize("shapes", [((2048, 64), (63, 152)), ((2048, 64), (64,))])
def test_shapes_that_disagree_are_torchs_own_error(shapes: tuple[tuple[int, ...], ...]) -> None:
    one, other = (torch.randn(*shape) for shape in shapes)
    with pytest.raises(RuntimeError) as expected:
        torch.mm(one, other)
    with pytest.raises(RuntimeError) as found:
        products.product(one, other)
    assert str(found.value) == str(expected.value)


def test_intels_own_processors_and_unknown_systems_stay_with_mkl(tmp_path: Path) -> None:
    intel = tmp_path / "cpuinfo"
    intel.write_text("vendor_id\t: GenuineIntel\n")
    assert not products._faster(intel)
    assert not products._faster(tmp_path / "nothing")


INSTALLED = """
import sys, warnings
warnings.simplefilter("error")
from pathlib import Path
import torch
from models import products
calls = []
inner = products.product
products.product = lambda *pair: (calls.append(pair[0].shape), inner(*pair))[1]
products._faster = lambda path: True
layer, x = torch.nn.Linear(64, 152, bias=False), torch.randn(16, 128, 64, requires_grad=True)
grads = [torch.autograd.grad(layer(x).square().sum(), [x, layer.weight])]
assert products.use_onednn() and products.use_onednn()
assert not calls
grads.append(torch.autograd.grad(layer(x).square().sum(), [x, layer.weight]))
assert len(calls) == 3, calls
for before, after in zip(*grads):
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
try:
    torch.mm(torch.randn(2, 3), torch.randn(4, 5))
except RuntimeError as error:
    assert "cannot be multiplied" in str(error), error
else:
    raise SystemExit("no error")
"""


def test_once_installed_forward_and_backward_go_through_it() -> None:
    done = subprocess.run([sys.executable, "-c", INSTALLED], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
