"""The stand-in under fla's names: found, refusing, undone."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from types import ModuleType

import pytest
import torch

from models.fla_standin import install, installed, is_standin
from models.fla_standin.compiling import compilation_skipped

from . import real_fla


def test_modules_of_fla_are_found_under_their_names_and_gone_again():
    before = {name for name in sys.modules if name.partition(".")[0] == "fla"}
    finders = list(sys.meta_path)
    with installed() as done:
        assert done
        import fla.modules.l2norm as norms
        import fla.ops.gated_delta_rule.chunk as chunk
        from fla.layers.utils import get_unpad_data
        from fla.modules import FusedRMSNormGated, RMSNorm, ShortConvolution
        from fla.ops import chunk_gla
        from fla.ops.gla import chunk_gla as same

        assert chunk_gla is same
        assert all(callable(item) for item in (norms.l2norm, chunk.chunk_gated_delta_rule, get_unpad_data))
        assert all(issubclass(item, torch.nn.Module) for item in (FusedRMSNormGated, RMSNorm, ShortConvolution))
        assert importlib.util.find_spec("fla.ops").name == "fla.ops"
        assert install()  # twice is harmless
    assert {name for name in sys.modules if name.partition(".")[0] == "fla"} == before
    assert sys.meta_path == finders
    assert not is_standin()


def test_an_fla_that_is_loaded_already_comes_back(monkeypatch: pytest.MonkeyPatch):
    loaded = ModuleType("fla")
    monkeypatch.setitem(sys.modules, "fla", loaded)
    with installed() as done:
        assert done
        assert sys.modules["fla"] is not loaded
    assert sys.modules["fla"] is loaded


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import fla.ops.rwkv7", r"fla\.ops\.rwkv7.* no 'rwkv7'; fla\.ops has .*chunk_gla.*kernels\.dispatch"),
        ("from fla.ops import chunk_rwkv7", "no 'chunk_rwkv7'"),
        ("from fla.modules.l2norm import l3norm", r"fla\.modules\.l2norm has L2Norm, l2_norm, l2norm"),
        ("from fla.layers import Mamba2", "no 'Mamba2'"),
        ("import fla.no.such", "no 'no'"),
    ],
)
def test_what_it_lacks_is_an_import_error_that_says_what_there_is(statement: str, message: str):
    with installed(), pytest.raises(ImportError, match=message):
        exec(statement, {})


def test_a_missing_attribute_is_no_import_error():
    with installed():
        fla = importlib.import_module("fla")
        assert not hasattr(fla.ops, "chunk_rwkv7")
        with pytest.raises(AttributeError, match="chunk_rwkv7"):
            _ = fla.ops.chunk_rwkv7


def test_the_real_one_is_used_on_cuda_where_it_is_installed():
    real_fla.folder()
    with installed("cuda") as done:
        assert not done
        assert not is_standin()
    with installed("cpu") as done:
        assert done


def test_the_stand_in_is_used_on_cuda_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with installed("cuda:0") as done:
        assert done


def test_every_name_of_it_is_one_of_flas():
    """A name that fla does not have would let a mixer pass here that fails on a GPU."""
    folder = real_fla.folder()
    from models.fla_standin.names import tree

    for module, contents in tree().items():
        path = folder.parent / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert file.is_file(), f"fla has no module {module}"
        text = file.read_text(encoding="utf-8")
        flags = ("is_", "__version__")
        missing = [name for name in contents if name not in text and not name.startswith(flags)]
        assert not missing, f"{file} does not know {missing}"


def test_arguments_of_operators_and_modules_are_flas_in_order():
    """Compared by text: fla itself cannot be imported without a GPU's libraries."""
    import ast
    import inspect

    folder = real_fla.folder()
    from models.fla_standin.names import tree

    theirs: dict[tuple[str, str], list[str]] = {}
    for module in tree():
        path = folder.parent / module.replace(".", "/")
        if path.with_suffix(".py").is_file():
            for item in ast.parse(path.with_suffix(".py").read_text(encoding="utf-8")).body:
                found = item
                if isinstance(item, ast.ClassDef):
                    found = next((part for part in item.body if getattr(part, "name", "") == "__init__"), None)
                if isinstance(found, ast.FunctionDef):
                    names = [argument.arg for argument in (*found.args.posonlyargs, *found.args.args)]
                    theirs[module, item.name] = [name for name in names if name != "self"]
    compared = 0
    for module, contents in tree().items():
        for name, value in contents.items():
            expected = theirs.get((module, name))
            if expected is None or not callable(value) or name.startswith(("fused_chunk_delta", "fused_chunk_gla")):
                continue
            kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            ours = [key for key, item in inspect.signature(value).parameters.items() if item.kind in kinds]
            assert ours == expected, f"{module}.{name}"
            compared += 1
    assert compared > 60


def test_compiling_hands_back_what_it_is_given():
    real = torch.compile
    with compilation_skipped():

        @torch.compile
        def plain(x):
            return x + 1

        @torch.compile(fullgraph=True, mode="max-autotune")
        def configured(x):
            return x * 2

        module = torch.nn.Linear(2, 2)
        assert torch.compile(module) is module
        assert torch.compile(model=module, dynamic=True) is module
        module.compile()
        assert module(torch.ones(1, 2)).shape == (1, 2)
        assert [plain(1), configured(3)] == [2, 6]
        assert torch.compiler.disable(plain)(1) == 2
    assert torch.compile is real


def test_warming_up_leaves_one_thread_and_fla_in_place():
    """In a process of its own, as the fork server does it."""
    program = (
        "import os, sys, torch\n"
        "from models.sandbox import tasks\n"
        "tasks.warm_up()\n"
        "before = set(sys.modules)\n"
        "from models.fla_standin import is_standin\n"
        "import fla, einops.layers.torch, torch.utils.checkpoint, torch.nn.utils.parametrizations\n"
        "repr(torch.ones(2)); f = torch.compile(lambda x: x)\n"
        "print(is_standin(), len(os.listdir('/proc/self/task')), sorted(set(sys.modules) - before))\n"
    )
    if sys.platform != "linux":
        pytest.skip("threads are counted in /proc")
    with warnings.catch_warnings():
        told = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    assert told.stdout.split(maxsplit=2) == ["True", "1", "[]\n"]
