import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.grammar.mutate import crossover, mutate, random_genome
from agents.grammar.token_mixer.known import BASELINE_GENOMES, KNOWN_GENOMES
from agents.grammar.token_mixer.render import render
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from models.policy import MAX_SOURCE_BYTES, check, violations
from models.policy.rules import refused_import, refused_member
from models.policy.tables import MODULES
from models.slots import SLOTS, published_source

HEAD = """
import math, warnings, typing, functools, operator
import numpy as np
import torch
import torch as t
from torch import nn
from torch.nn import functional as F
"""
MIXER = HEAD + "class TokenMixer(nn.Module):\n    def forward(self, x):\n        BODY\n        return x\n"


def whats(source: str) -> str:
    return " / ".join(item.what for item in violations(source))


def in_forward(*lines: str) -> str:
    return MIXER.replace("BODY", "\n        ".join(lines))


REDEFINED = """
    state_dict load_state_dict _load_from_state_dict train eval parameters named_parameters to _apply half float
    __getattr__ __getattribute__ __setattr__ __del__ __reduce__ __torch_function__ __init_subclass__ _call_impl training
    register_buffer named_buffers
"""
REFUSED = {
    # imports
    "import os": "os",
    "import os.path as p": "os",
    "import sys": "sys",
    "from subprocess import run": "subprocess",
    "import importlib": "importlib",
    "import inspect": "inspect",
    "import gc": "gc",
    "import ctypes": "ctypes",
    "import socket": "socket",
    "import pickle": "pickle",
    "import models.evaluator": "models",
    "from models.sandbox import tasks": "models",
    "from kernels import reference": "reference",
    "from cognition import records": "cognition",
    "import requests": "requests",
    "from . import x": "relative",
    "from math import *": "*",
    "from torch import *": "*",
    "import torch._C": "private",
    "import torch._dynamo as d": "private",
    "from torch._higher_order_ops import scan": "private",
    "import torch.optim": "torch.optim",
    "from torch import hub": "torch.hub",
    "from torch.utils import cpp_extension": "torch.utils.cpp_extension",
    "import torch.utils._python_dispatch": "private",
    "import torch.multiprocessing": "multiprocessing",
    "from warnings import sys": "sys by way of warnings",
    "from torch.nn.functional import importlib": "importlib by way of",
    "from fla.utils import os": "os by way of",
    "from transformers import AutoModel": "transformers",
    "import numpy.ctypeslib": "numpy.ctypeslib",
    "from numpy.lib import format": "numpy.lib",
    "class A:\n    import torch": "class body",
    "TYPE = True\nif TYPE:\n    from transformers import AutoModel": "transformers",
    "try:\n    import os\nexcept ImportError:\n    pass": "os",
    # builtins, by their own and by other names
    "eval('1')": "eval",
    "e = eval": "eval",
    "print([exec])": "exec",
    "compile('1', '', 'eval')": "compile",
    "open('f')": "open",
    "if math.pi > 4:\n    eval = 1\neval('1')": "eval",
    "for open in []: pass\nopen('f')": "open",
    "def f():\n    global eval\n    eval('1')": "eval",
    "def f():\n    def g():\n        global eval\n        eval = 1\n    eval('1')": "eval",
    "def f():\n    eval = 1\n    def g():\n        global eval\n        eval('1')": "eval",
    "if math.pi > 4:\n    from math import exp as eval\neval('1')": "eval",
    "class A:\n    exec = 1\n    def f(self): exec('1')": "exec",
    "[0 for eval in []], eval('1')": "eval",
    "input()": "input",
    "breakpoint()": "breakpoint",
    "globals()": "globals",
    "vars(math)": "vars",
    "dir()": "dir",
    "memoryview(b'')": "memoryview",
    "__import__('os')": "__import__",
    "__builtins__": "__builtins__",
    "__loader__": "__loader__",
    "def f():\n    global __builtins__": "__builtins__",
    # introspection
    "().__class__": "__class__",
    "().__class__.__bases__": "__bases__",
    "object.__subclasses__()": "__subclasses__",
    "nn.Module.__dict__": "__dict__",
    "f'{math.__loader__}'": "__loader__",
    "'{0.__class__}'.format(1)": "format string",
    "'{0.' '__class__.__init__}'.format(1)": "format string",
    "getattr(1, 'a' + 'b')": "computed",
    "getattr(1, '__class__')": "__class__",
    "getattr(torch, 'load')('f')": "torch.load",
    "map(getattr, [1], ['x'])": "getattr as a value",
    "setattr(nn.Module, 'forward', 1)": "else than self",
    "delattr(torch.Tensor, 'add')": "else than self",
    "hasattr(1, '__cla' + 'ss__')": "computed",
    "type('X', (), {})": "three arguments",
    "class M(type): pass": "type()",
    "class X(metaclass=abs): pass": "metaclass",
    "x = type": "type()",
    "type(1).real = 2": "type()",
    "c = type(1)": "type()",
    "(i for i in ()).gi_frame.f_back": "gi_frame",
    "try: 1/0\nexcept Exception as e: e.__traceback__.tb_frame": "tb_frame",
    "int.mro()": "mro",
    "operator.attrgetter('__class__')": "attrgetter",
    "typing.get_type_hints(1)": "get_type_hints",
    "def f(x: 'eval(1)'): pass": "eval",
    "def f() -> list['__import__(1)']: pass": "__import__",
    "match f:\n    case object(__globals__=g): pass": "__globals__",
    "import types\ntypes.FunctionType": "types.FunctionType",
    "import dataclasses\ndataclasses.types.CodeType": "types by way of",
    "import string\nstring.Formatter()": "Formatter",
    # modules as values
    "m = [torch]": "module torch as a value",
    "def f(m=torch): pass": "as a value",
    "lambda: F": "as a value",
    "class A:\n    f = F": "as a value",
    "getattr(torch, 'x' + 'y')": "computed",
    # patching
    "F.cross_entropy = abs": "torch.nn.functional",
    "torch.nn.functional.softmax = abs": "torch.nn.functional",
    "f = torch.nn.functional\nf.softmax = abs": "torch.nn.functional",
    "f = g = F\ng.softmax = abs": "torch.nn.functional",
    "nn.Module.forward = abs": "torch.nn.Module",
    "M = nn.Module\nM.forward = abs": "torch.nn.Module",
    "M = nn.Module if math.pi else nn.Linear\nM.forward = abs": "torch.nn.",
    "for M in (nn.Module, nn.Linear): M.forward = abs": "torch.nn.",
    "if (M := nn.Module): M.forward = abs": "torch.nn.Module",
    "[(M := nn.Module) for i in [1]]\nM.forward = abs": "torch.nn.Module",
    "math.exp = abs": "math",
    "math.exp, y = abs, 1": "math",
    "math.pi += 1": "math",
    "del torch.nn": "torch",
    "for torch.x in [1]: pass": "torch",
    "with torch.no_grad() as torch.x: pass": "torch",
    "from fla.modules.activations import ACT2FN\nACT2FN['silu'] = abs": "fla.modules.activations.ACT2FN",
    "torch.Tensor.add.x.y = 1": "torch.Tensor",
    "class A(nn.Module):\n    def f(self): super().forward = 1": "super()",
    # files, code, seeds and global state of torch and numpy
    "torch.load('f')": "torch.load",
    "t.load('f')": "torch.load",
    "def f():\n    u = t\n    u.load('f')": "torch.load",
    "torch.save(1, 'f')": "torch.save",
    "torch.from_file('f')": "torch.from_file",
    "torch.UntypedStorage.from_file('f', False, 1)": "torch.UntypedStorage",
    "torch.FloatStorage": "torch.FloatStorage",
    "torch.zeros(1).untyped_storage()": "untyped_storage",
    "torch.hub.load('a', 'b')": "torch.hub",
    "torch.ops.load_library('f')": "torch.ops",
    "torch.classes": "torch.classes",
    "torch._C": "private",
    "torch.jit.script": "torch.jit",
    "torch.manual_seed(0)": "torch.manual_seed",
    "torch.random.manual_seed(0)": "torch.random",
    "torch.cuda.manual_seed(0)": "torch.cuda.manual_seed",
    "torch.set_default_dtype(torch.float64)": "torch.set_default_dtype",
    "torch.set_num_threads(4)": "torch.set_num_threads",
    "torch.use_deterministic_algorithms(False)": "torch.use_deterministic_algorithms",
    "torch.backends.cuda.matmul.allow_tf32 = True": "torch.backends",
    "torch.optim.AdamW.step = abs": "torch.optim",
    "torch.autograd.set_grad_enabled(False)": "torch.autograd.set_grad_enabled",
    "torch.autograd.graph.saved_tensors_hooks(abs, abs)": "torch.autograd.graph",
    "nn.modules.module.register_module_forward_hook(abs)": "torch.nn.modules.module",
    "np.load('f')": "numpy.load",
    "np.save('f', 1)": "numpy.save",
    "np.memmap('f')": "numpy.memmap",
    "np.fromfile('f')": "numpy.fromfile",
    "np.zeros(1).tofile('f')": "tofile",
    "np.zeros(1).ctypes": "ctypes",
    "np.random.seed(0)": "numpy.random.seed",
    "np.lib.format.open_memmap('f')": "numpy.lib",
    "F.torch.load('f')": "torch by way of",
    # the module's machinery
    **{f"class A(nn.Module):\n    def {name}(self, *a): pass": name for name in REDEFINED.split()},
    "class A(nn.Module):\n    train = abs": "train",
    "class A(nn.Module):\n    def f(self): self.eval = abs": "eval",
    "class A(nn.Module):\n    def f(self): setattr(self, 'state_dict', abs)": "state_dict",
    "class A(nn.Module):\n    def f(self): self._parameters.clear()": "_parameters",
    "class A(nn.Module):\n    def f(self): self.register_forward_hook(abs)": "register_forward_hook",
    "class A:\n    __match_args__ = ('x',)": "__match_args__",
    "def __getattr__(name): pass": "__getattr__",
}
SCAN = """
class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.steps = 3
        return x

    @staticmethod
    def backward(ctx, gradient):
        return gradient
"""
LAYER = """
class Layer(nn.Module):
    __slots__ = ()

    def __init__(self):
        super().__init__()
        self.half = 2
        self.register_buffer("taps", torch.zeros(1))
        self.apply(self._initialise)
        self.weight = nn.Parameter(torch.zeros(1))
        self.weight._no_weight_decay = True
        setattr(self, "name", 1)

    def _initialise(self, module):
        if getattr(module, "_is_hf_initialized", False):
            return
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            module.bias.data = torch.zeros(1)

    def extra_repr(self):
        return self.__class__.__name__

    def __repr__(self):
        return super().__repr__()

    def step(self, x, state=None):
        return x, state

    def state_bytes(self):
        return 4
"""
ALLOWED = (
    "from __future__ import annotations",
    "import collections.abc, copy, enum, abc, numbers, contextlib, itertools, cmath, dataclasses",
    "import torch.utils.checkpoint",
    "from torch.utils.checkpoint import checkpoint",
    "import einops\nfrom einops import rearrange, repeat\nfrom einops.layers.torch import Rearrange",
    "from kernels.dispatch import gated_delta_rule, causal_conv",
    "from kernels import dispatch\ndispatch.causal_conv",
    "from fla.ops.delta_rule import chunk_delta_rule\nfrom fla.modules import RMSNorm, ShortConvolution",
    "from fla.ops.abc.chunk import chunk_abc\nfrom fla.models.utils import Cache\nfrom fla.layers.utils import a",
    "import triton\nimport triton.language as tl\n@triton.jit\ndef k(p): tl.load(p)",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from transformers.processing_utils import Unpack",
    "if typing.TYPE_CHECKING:\n    from transformers.processing_utils import Unpack",
    "try:\n    from transformers.utils import logging\nexcept ImportError:\n    logging = None",
    "try:\n    import triton\nexcept ModuleNotFoundError:\n    triton = None",
    "def f(input, dir=1): return input + dir",
    "def f(x):\n    vars = x\n    return vars",
    "[input for input in [1]]",
    "relu = F.relu\nrelu(torch.zeros(1))",
    "softmax = torch.softmax if math.pi else F.softmax",
    "hasattr(F, 'rms_norm') and getattr(F, 'rms_norm')",
    "getattr(math, 'pi')",
    "print('{} {x:.3f}'.format(1, x=2))",
    "nn.Module.__init__",
    "torch.__version__",
    "@torch.compile\ndef f(x): return x",
    "@torch.no_grad()\ndef f(x): return x",
    "@functools.lru_cache(maxsize=4)\ndef f(x): return x",
    "with torch.autocast('cpu', enabled=False): pass",
    "with torch.amp.autocast('cpu'): pass",
    "warnings.warn('slow')",
    "np.random.default_rng(0).normal()",
    "torch.Generator().manual_seed(0)",
    "torch.select(torch.zeros(2), 0, 1), np.copy(np.zeros(1))",
    "isinstance(1, (int, type))",
    "type(1) is int, type(1).__name__, f'{type(1)}', type(1)(2)",
    "def f(c: type[nn.Module], d: 'torch.Tensor', e: typing.Optional['int'] = None) -> 'F': pass",
    SCAN,
    LAYER,
    "class A:\n    pass\nA.count = 1",
    "x = {}\nx['a'] = 1\nx['b'].y = 2",
    "def f(*args, **kwargs): return kwargs.get('x'), kwargs.pop('y', None)",
    "__all__ = ['TokenMixer']\n__version__ = '1'",
    "raise ValueError(f'{__name__}')",
    "def f(nn): nn.Module = 1",
)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_named_with_its_line_and_a_remedy(text: str) -> None:
    source = HEAD + text
    found = violations(source)
    assert REFUSED[text] in whats(source)
    assert all(item.remedy for item in found)
    first, last = HEAD.count("\n") + 1, source.count("\n") + 1
    assert all(first <= item.line <= last for item in found)


@pytest.mark.parametrize("text", ALLOWED)
def test_what_honest_modules_write_is_accepted(text: str) -> None:
    source = text if text.startswith("from __future__") else HEAD + text
    assert violations(source) == ()


@pytest.mark.parametrize(("slot", "name"), [(slot.name, name) for slot in SLOTS.values() for name in slot.baselines])
def test_baselines_pass(slot: str, name: str) -> None:
    assert violations(published_source(slot, name)) == ()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_whatever_the_grammar_writes_passes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(TOKEN_MIXERS, rng)
    if seed % 3 == 1:
        genome = mutate(TOKEN_MIXERS, genome, rng, num_changes=2)
    elif seed % 3 == 2:
        genome = crossover(TOKEN_MIXERS, genome, random_genome(TOKEN_MIXERS, rng), rng)
    assert violations(render(genome)) == ()


@pytest.mark.parametrize("name", [*BASELINE_GENOMES, *KNOWN_GENOMES])
def test_known_designs_pass(name: str) -> None:
    assert violations(render({**BASELINE_GENOMES, **KNOWN_GENOMES}[name])) == ()


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).with_name("fla_style").glob("[!t]*.py")), ids=lambda path: path.stem
)
def test_modules_in_flas_manner_pass(path: Path) -> None:
    assert violations(path.read_text()) == ()


def test_flas_own_layers_fail_for_what_they_import_alone() -> None:
    spec = importlib.util.find_spec("fla")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("flash-linear-attention is not installed")
    paths = [
        path for path in Path(spec.submodule_search_locations[0], "layers").glob("*.py") if path.stem != "__init__"
    ]
    found = {path.stem: violations(path.read_text()) for path in paths}
    assert {item.what.partition(" of ")[0] for items in found.values() for item in items} <= {"import"}
    assert sum(not items for items in found.values()) >= 15


def test_no_allowed_path_leads_to_a_module_that_may_not_be_imported() -> None:
    """Also what a new version of torch or numpy brings is met here, before a candidate meets it."""
    seen, waiting = set(), [(name, name) for name in sorted(MODULES) if name.partition(".")[0] != "triton"]
    strayed = {}
    while waiting:
        path, name = waiting.pop()
        for member, value in list(vars(importlib.import_module(name)).items()):
            found = f"{path}.{member}"
            if not isinstance(value, ModuleType) or refused_member(found) is not None:
                continue
            ours = value.__name__.startswith(("torch", "numpy", "einops", "kernels"))
            if (value.__name__ not in MODULES and not ours) or refused_member(value.__name__) is not None:
                strayed[found] = value.__name__
            elif value.__name__ not in seen:
                seen.add(value.__name__)
                waiting.append((found, value.__name__))
    assert strayed == {}
    assert len(seen) > 50


@pytest.mark.parametrize(
    "name", ["load", "save", "from_file", "manual_seed", "set_num_threads", "set_default_device", "ops", "hub", "_C"]
)
def test_the_names_that_are_refused_exist(name: str) -> None:
    assert hasattr(torch, name)
    assert refused_member(f"torch.{name}") is not None


def test_only_what_is_allowed_can_be_imported() -> None:
    for name in ("os", "sys", "subprocess", "models.policy", "ray", "torchvision", "torch.utils.data", "kernels.fused"):
        assert refused_import(name) is not None, name


def test_the_report_names_the_first_few_and_counts_all() -> None:
    found = check("import os\n" * 9)
    assert (found.name, found.passed, found.figure, found.limit) == ("policy", False, 9, 0)
    assert found.detail.splitlines()[0].startswith("line 1: import of os: use torch")
    assert found.detail.splitlines()[-1] == "and 4 more"
    honest = check(in_forward("pass"))
    assert (honest.passed, honest.figure, honest.detail) == (True, 0, "")


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("x = 1\ndef", 2, "syntax error"),
        ("if True:\n\t x\n        y", 3, "syntax error"),
        ("a\0b", 1, ""),
        ("x = '\ud800'", 1, ""),
        ("x = " + "9" * 5_000, 1, ""),
        ("(" * 5_000, 1, ""),
        ("x = " + "(" * 150 + ")" * 150, 1, ""),
        ("x = " + "[" * 90 + "]" * 90, 1, ""),
        ("x = " + "-" * 3_000 + "1", 1, ""),
        ("x = " + "-" * 300 + "1", 1, "levels deep"),
        ("x" + ".a" * 20_000, 1, ""),
        ("x = 1" + "+1" * 20_000, 1, ""),
        ("x = " + "lambda: " * 3_000 + "1", 1, ""),
        ("x = 1;" * 30_000, 1, "syntax nodes"),
        ("#" * (MAX_SOURCE_BYTES + 1), 1, "bytes"),
    ],
    ids=range(15),
)
def test_text_that_cannot_be_read_is_a_violation(source: str, line: int, words: str) -> None:
    found = violations(source)
    if not found and not words:
        compile(source, "candidate", "exec")  # deep, and honest all the same
        return
    assert [item.line for item in found] == [line]
    assert words in found[0].what


def test_an_invalid_escape_is_nobodys_warning() -> None:
    assert violations("x = '\\d'") == ()


def test_deep_text_is_judged_alike_however_deep_the_caller_stands() -> None:
    source = "x = " + "(" * 60 + "1," + ")" * 60

    def deeper(num: int) -> object:
        return deeper(num - 1) if num else violations(source)

    assert deeper(500) == violations(source)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="torchnF.=()[]:\n evalxyz_'{}@*,", max_size=200))
def test_no_text_raises(text: str) -> None:
    check(text)
