"""What the policy allows and refuses, as tables; each refusal comes with the remedy that a researcher is told.

Paths are the full names of imports, whatever they were renamed to in the text. Torch and numpy are large and change:
of them the members that load, store, run, patch or change what others depend on are listed, and everything private is
refused; tests hold the list against the installed versions.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _told(*rows: tuple[str, str], before: str = "") -> dict[str, str]:
    """Name -> remedy, from rows of a remedy and the names that it is for."""
    return {f"{before}{name}": remedy for remedy, names in rows for name in sorted(_words(names))}


def _under(package: str, names: str) -> frozenset[str]:
    return frozenset({package, *(f"{package}.{name}" for name in _words(names))})


_FILES = "a candidate has no files: build tensors from parameters and inputs"
_GLOBAL = "leave global state alone: pass dtype, device or generator to the call"
_SEED = "drop it: the host seeds every trial, so that seeds are paired"
_CODE = "write plain modules and functions"
_HOST = "leave it to the host, which trains and measures"
_FRAMES = "frames are none of a mixer's business: pass what you need as arguments"
_INSIDE = "use the public way: nn.Parameter and nn.Module attributes, register_buffer, forward"
_NO_HOOK = "write the computation into forward"

# Modules that may be imported. As values they are never passed around: only their members are used.
STANDARD = _words(
    """__future__ typing typing_extensions types math cmath functools itertools operator collections collections.abc
    dataclasses enum abc copy numbers warnings contextlib string"""
)
MODULES = frozenset(
    STANDARD
    | _under(
        "torch",
        """nn nn.functional nn.init nn.parameter nn.modules nn.attention nn.attention.flex_attention nn.utils
        nn.utils.parametrizations nn.utils.rnn linalg fft special autograd autograd.function utils utils.checkpoint amp
        cuda cuda.amp compiler func distributions types signal signal.windows""",
    )
    | _under("numpy", "linalg fft random typing polynomial")
    | _under("einops", "layers layers.torch")
    | _under("kernels", "dispatch")
    | _under("triton", "language language.extra language.math")
)
OPEN_PACKAGE = "fla"  # any of its parts, by its public names
OPEN_MODULES = _under(OPEN_PACKAGE, "ops modules layers utils models models.utils")
# May be imported for types alone, or where an ImportError is expected.
OPTIONAL_PACKAGES = _words("transformers flash_attn causal_conv1d mamba_ssm")

BUILTINS = _told(
    ("write the code itself", "eval exec compile"),
    ("drop it: a mixer neither reads nor asks", "open input breakpoint help exit quit copyright credits license"),
    ("name what you need", "globals locals vars dir"),
    ("use tensors", "memoryview"),
)

MEMBERS = (
    _told(
        (_FILES, "load save from_file serialization storage hub package PyTorchFileReader PyTorchFileWriter"),
        (_SEED, "manual_seed seed initial_seed random default_generator get_rng_state set_rng_state"),
        (_GLOBAL, "use_deterministic_algorithms backends init_num_threads clear_autocast_cache"),
        (
            _CODE,
            """ops classes library jit overrides fx export onnx import_ir_module import_ir_module_from_buffer parse_ir
            parse_schema parse_type_comment fork wait script ao quantization masked.maskedtensor sparse.semi_structured
            CompilationUnit LiteScriptModule ThroughputBenchmark ExecutionPlan Graph Node Value""",
        ),
        (
            _HOST,
            """optim distributed multiprocessing profiler monitor futures testing accelerator xpu mps mtia cpu contrib
            share set_vital read_vitals from_dlpack to_dlpack frombuffer torch_version nn.parallel nn.backends
            nn.quantized nn.quantizable nn.qat nn.cpp nn.intrinsic
            cpp return_types
            utils.checkpoint.fx_traceback""",
        ),
        ("use torch.nn.Module", "nn.modules.module"),
        before="torch.",
    )
    | _told(
        (
            _FILES,
            """load save savez savez_compressed memmap fromfile loadtxt genfromtxt savetxt fromregex DataSource
            open_memmap""",
        ),
        (_CODE, "lib core ctypeslib f2py distutils testing compat rec ma char strings matlib matrixlib emath"),
        (_GLOBAL, "seterr seterrcall setbufsize set_printoptions"),
        before="numpy.",
    )
    | _told((_CODE, "runtime compiler backends tools testing knobs experimental profiler"), before="triton.")
    | _told(
        (
            "annotations are for readers: do not evaluate them",
            """typing.get_type_hints typing.ForwardRef typing.evaluate_forward_ref typing_extensions.get_type_hints
            typing_extensions.ForwardRef typing_extensions.evaluate_forward_ref""",
        ),
        ("write the class", "dataclasses.make_dataclass"),
        ("use an f-string", "string.Formatter"),
        ("use isinstance", "functools.singledispatch functools.singledispatchmethod"),
        ("use warnings.warn", "warnings.showwarning warnings.formatwarning"),
    )
)
# Where a module offers little that a mixer needs, what it may use is listed instead.
ONLY = {
    "types": _words("SimpleNamespace MappingProxyType NoneType EllipsisType GenericAlias"),
    "numpy.random": _words("default_rng Generator"),
    "torch.utils": _words("checkpoint"),
    "torch.autograd": _words("Function function grad no_grad enable_grad inference_mode Variable forward_ad"),
    "torch.autograd.function": _words("Function FunctionCtx once_differentiable"),
    "torch.cuda": _words(
        """is_available amp current_device current_stream device device_count Stream Event stream synchronize
        get_device_capability get_device_properties get_device_name is_bf16_supported"""
    ),
    "torch.compiler": _words("disable is_compiling is_dynamo_compiling allow_in_graph cudagraph_mark_step_begin"),
    "torch.nn.utils.parametrizations": _words("orthogonal weight_norm spectral_norm"),
    "torch.nn.utils": _words("parametrizations weight_norm spectral_norm rnn"),
    "kernels": _words("dispatch"),
    "kernels.dispatch": _words(
        """linear_attn retention simple_gla gla delta_rule gated_delta_rule kda dplr_delta_rule causal_conv
        two_scale_fir rms_norm_gated path_fusion path_weights fuse_paths with_state Continued TwoScale"""
    ),
    # What the standard modules offer; enum.bltns and typing.stdlib_re are not meant for us.
    **{
        name: frozenset(importlib.import_module(name).__all__)
        for name in STANDARD - _words("__future__ typing_extensions types math cmath itertools abc")
    },
}
PREFIXES = {"torch.set_": _GLOBAL, "torch.autocast_": _GLOBAL, "torch.Script": _CODE, "torch.import_": _CODE}
STORAGE_SUFFIX = "Storage"
STORAGE_REMEDY = _FILES

# Modules that some allowed module happens to hold on to (warnings.sys, torch.nn.functional.importlib); the names taken
# out are also those of functions (torch.select, numpy.copy) and of parts of fla.
VIA = frozenset(
    (sys.stdlib_module_names - _words("select copy abc"))
    | _words("torch numpy np models orchestrator agents cognition ray psutil")
)
NOT_VIA = frozenset({"fla models", "fla chunk", "transformers logging"})  # parts of their own that are so called

# Attributes that no object is asked for, whatever it is.
ATTRIBUTES = _told(
    (
        _FRAMES,
        """f_back f_globals f_locals f_builtins f_code f_trace gi_frame gi_code gi_yieldfrom cr_frame cr_code cr_await
        cr_origin ag_frame ag_code ag_await tb_frame tb_next tb_lasti with_traceback co_code co_consts func_globals
        func_code""",
    ),
    ("write the class you mean", "mro"),
    ("write the attribute: x.name", "attrgetter methodcaller"),
    (_FILES, "tofile dump from_file from_buffer untyped_storage share_memory_ share_memory ctypes"),
    (
        _INSIDE,
        """_parameters _buffers _modules _non_persistent_buffers_set _apply _load_from_state_dict _save_to_state_dict
        _call_impl _slow_forward _C _evaluate _forward_hooks _forward_pre_hooks _backward_hooks _backward_pre_hooks
        _state_dict_hooks _state_dict_pre_hooks _load_state_dict_pre_hooks _load_state_dict_post_hooks""",
    ),
    (
        _NO_HOOK,
        """register_module_forward_hook register_module_forward_pre_hook register_module_backward_hook
        register_module_full_backward_hook register_module_full_backward_pre_hook
        register_module_parameter_registration_hook register_module_buffer_registration_hook
        register_module_module_registration_hook register_forward_hook register_forward_pre_hook register_backward_hook
        register_full_backward_hook register_full_backward_pre_hook register_state_dict_pre_hook
        register_state_dict_post_hook register_load_state_dict_pre_hook register_load_state_dict_post_hook
        _register_state_dict_hook _register_load_state_dict_pre_hook register_post_accumulate_grad_hook
        register_step_pre_hook register_step_post_hook register_optimizer_step_pre_hook
        register_optimizer_step_post_hook saved_tensors_hooks""",
    ),
)


def _dunders(names: Iterable[str]) -> frozenset[str]:
    return frozenset(f"__{name}__" for name in names)


DUNDER_READS = _dunders(_words("init name version doc post_init repr str"))
DUNDER_NAMES = _dunders(_words("name all version author doc debug"))
DUNDER_CLASS_VALUES = DUNDER_NAMES | _dunders(_words("slots constants"))
DUNDER_METHODS = _dunders(
    _words(
        """init post_init repr str len iter next getitem setitem contains call eq ne lt le gt ge hash bool int float
        enter exit add radd iadd sub rsub mul rmul imul matmul rmatmul truediv neg pos abs pow mod floordiv index
        reversed"""
    )
)

# Methods by which the host moves, counts, saves, loads and switches a module: redefined, its figures would be false.
METHODS = _told(
    (
        "register parameters and buffers; the host saves and loads them",
        "state_dict load_state_dict _load_from_state_dict _save_to_state_dict get_extra_state set_extra_state _version",
    ),
    ("read self.training in forward where dropout needs it", "train eval training requires_grad_ zero_grad"),
    (
        "the host moves and casts the module; cast inside forward if needed",
        "to to_empty _apply apply half float double bfloat16 cpu cuda xpu type share_memory",
    ),
    (
        "name parameters and submodules as attributes; the host finds them",
        """parameters named_parameters buffers named_buffers modules named_modules children named_children
        _named_members get_parameter get_buffer get_submodule register_parameter register_buffer register_module
        add_module""",
    ),
    (_NO_HOOK, "_call_impl _slow_forward _wrapped_call_impl"),
)
# Those of them that a value set on the module would shadow to an effect; self.half = head_dim // 2 harms nobody.
STORED_METHODS = _words(
    """state_dict load_state_dict _load_from_state_dict _save_to_state_dict train eval training parameters
    named_parameters buffers named_buffers named_modules _apply to register_parameter register_buffer"""
)
