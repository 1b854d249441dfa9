"""fla.utils: decorators and facts about the device, as they are where there is no GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
import torch.utils.checkpoint
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")

device = "cpu"
device_name = "cpu"
device_platform = "cpu"
device_torch_lib = torch.cpu

FLAGS = dict.fromkeys(
    (
        "IS_AMD",
        "IS_ARM",
        "IS_GATHER_SUPPORTED",
        "IS_INTEL",
        "IS_INTEL_ALCHEMIST",
        "IS_NPU",
        "IS_NVIDIA",
        "IS_NVIDIA_BLACKWELL",
        "IS_NVIDIA_HOPPER",
        "IS_NVIDIA_SM100",
        "IS_TF32_SUPPORTED",
        "IS_TMA_SUPPORTED",
    ),
    False,
)

autocast_custom_fwd = functools.partial(torch.amp.custom_fwd, device_type=device)
autocast_custom_bwd = functools.partial(torch.amp.custom_bwd, device_type=device)
autotune_cache_kwargs: dict[str, Any] = {}


def tensor_cache(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function itself: nothing is kept between calls."""
    return fn


def input_guard(fn: Callable[..., Any] | None = None, *, no_guard_contiguous: Any = False) -> Any:
    """A decorator that makes tensor arguments contiguous; as @input_guard or @input_guard(no_guard_contiguous=...)."""
    if fn is None:
        return functools.partial(input_guard, no_guard_contiguous=no_guard_contiguous)

    @functools.wraps(fn)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if no_guard_contiguous is True:
            return fn(*args, **kwargs)
        return fn(*map(_contiguous, args), **{name: _contiguous(value) for name, value in kwargs.items()})

    return guarded


def contiguous(fn: Callable[..., Any]) -> Any:
    """`input_guard` without arguments."""
    return input_guard(fn)


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed again in the backward pass instead of stored."""

    @functools.wraps(fn)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return torch.utils.checkpoint.checkpoint(fn, *args, use_reentrant=False, **kwargs)

    return recomputed


def custom_device_ctx(index: int | None) -> AbstractContextManager[None]:
    """No context."""
    return nullcontext()


def check_shared_mem(arch: str = "none", tensor_idx: int = 0) -> bool:
    """False: there is none."""
    return False


def check_pytorch_version(version_s: str = "2.4") -> bool:
    """Whether torch is at least of this version."""
    return _numbers(torch.__version__) >= _numbers(version_s)


def get_available_device() -> str:
    """cpu."""
    return device


def get_multiprocessor_count(tensor_idx: int = 0) -> int:
    """1."""
    return 1


def get_abs_err(x: Tensor, y: Tensor) -> float:
    """The largest absolute difference."""
    return float((x.detach() - y.detach()).abs().max())


def get_err_ratio(x: Tensor, y: Tensor) -> float:
    """rms(x - y) / rms(x)."""
    difference = float((x.detach() - y.detach()).square().mean().sqrt())
    return difference / (float(x.detach().square().mean().sqrt()) + 1e-8)


def _contiguous(value: Any) -> Any:
    return value.contiguous() if isinstance(value, Tensor) else value


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2])
