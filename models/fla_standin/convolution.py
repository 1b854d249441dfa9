"""fla.modules.convolution and token_shift: short causal filters of each channel, with a cache for decoding.

Computed in float32 (float64 for float64 inputs), returned in x's type. `backend`, `chunk_indices` and copies of
cu_seqlens for the host are accepted and make no difference. Not there: long (FFT) convolutions, context parallelism.

Shapes: B batch, T time, D channels, W taps, N packed sequences (else N = B). A cache [N, D, W] holds the last W inputs,
the latest one last.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from kernels import dispatch
from kernels.packing import Packing
from models.fla_standin.recurrence import state_dtype


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool | None = False,
    activation: str | None = None,
    backend: str | None = "triton",
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    cp_context: object | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """y_BTD = activation(filter(x) + bias) + residual for weight [D, W], and the cache [N, D, W] if asked for."""
    if cp_context is not None:
        raise NotImplementedError("cp_context is for several devices; the stand-in has one: drop it")
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation is {activation!r}; use silu, swish or None")
    dtype = state_dtype(x)
    packing = None if cu_seqlens is None else Packing(cu_seqlens, x)
    wide_NTD = x.to(dtype) if packing is None else packing.unpack(x.to(dtype))
    taps = weight.shape[1]
    history_NWD = wide_NTD.new_zeros(wide_NTD.shape[0], taps, x.shape[2])
    if initial_state is not None:
        history_NWD = initial_state.to(dtype).mT
        if history_NWD.shape != (wide_NTD.shape[0], taps, x.shape[2]):
            raise ValueError(
                f"the cache has shape {list(initial_state.shape)}; for {wide_NTD.shape[0]} sequences it has to be "
                f"{[wide_NTD.shape[0], x.shape[2], taps]}"
            )
    whole_NTD = torch.cat([history_NWD, wide_NTD], 1)
    y = dispatch.causal_conv(wide_NTD if initial_state is None else whole_NTD, weight.to(dtype))[
        :, -wide_NTD.shape[1] :
    ]
    y = y if packing is None else packing.pack(y)
    y = y if bias is None else y + bias.to(dtype)
    y = F.silu(y) if activation else y
    y = y if residual is None else y + residual.to(dtype)
    final = None
    if output_final_state:
        lengths_N = wide_NTD.new_full((wide_NTD.shape[0],), wide_NTD.shape[1]).long()
        final = _last(whole_NTD, lengths_N if packing is None else packing.lengths_N, taps).mT.to(x.dtype).contiguous()
    return y.to(x.dtype), final


def causal_conv1d_update(
    x: Tensor,
    cache: Tensor,
    residual: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """One step for N sequences, x [N, D], [N, 1, D] or [1, N, D]; the cache is rewritten in place where it can be."""
    if weight is None:
        raise ValueError("weight is None; give the filter [D, W]")
    x_N1D = x.reshape(-1, 1, weight.shape[0])
    residual_N1D = None if residual is None else residual.reshape(x_N1D.shape)
    y_N1D, new = causal_conv1d(x_N1D, weight, bias, residual_N1D, cache, True, activation)
    assert new is not None
    return y_N1D.reshape(x.shape), _rewritten(cache, new)


class ShortConvolution(nn.Conv1d):
    """A causal filter of each channel: weight [D, 1, W], optional bias and SiLU.

    Returns (y, cache): the cache is None unless `output_final_state`. In a step of decoding a given cache is rewritten
    in place, as fla does, unless a gradient has to flow through it.
    """

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        bias: bool = False,
        activation: str | None = "silu",
        backend: str | None = "triton",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size,
            hidden_size,
            kernel_size,
            groups=hidden_size,
            bias=bias,
            padding=kernel_size - 1,
            device=device,
            dtype=dtype,
        )
        if activation not in (None, "silu", "swish"):
            raise ValueError(f"activation is {activation!r}; use silu, swish or None")
        self.hidden_size = hidden_size
        self.activation = activation
        self.backend = backend

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool | None = False,
        cu_seqlens: Tensor | None = None,
        chunk_indices: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if mask is not None:
            if cu_seqlens is not None:
                raise ValueError("both mask and cu_seqlens are given; use one: packed rows hold no padding")
            x = x * mask.unsqueeze(-1).to(x.dtype)
        y, new = causal_conv1d(
            x,
            self.weight.squeeze(1),
            self.bias,
            residual,
            cache,
            output_final_state or cache is not None,
            self.activation,
            cu_seqlens=cu_seqlens,
        )
        num_sequences = x.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
        if cache is not None and new is not None and x.shape[0] * x.shape[1] == num_sequences:
            new = _rewritten(cache, new)
        return y, new if output_final_state else None

    def step(
        self,
        x: Tensor,
        residual: Tensor | None,
        cache: Tensor | None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """One step of each sequence."""
        return self.forward(x, residual, None, cache, output_final_state, cu_seqlens)

    @property
    def state_size(self) -> int:
        """Numbers in one sequence's cache."""
        return self.hidden_size * self.kernel_size[0]


def token_shift(
    x: Tensor,
    cu_seqlens: Tensor | None = None,
    cache: Tensor | None = None,
    output_cache: bool = False,
    chunk_indices: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """x_(t-1) - x_t, with the cache [N, D] (or zeros) before the first step; also the last step if `output_cache`."""
    packing = None if cu_seqlens is None else Packing(cu_seqlens, x)
    rows_NTD = x if packing is None else packing.unpack(x)
    first_N1D = torch.zeros_like(rows_NTD[:, :1])
    if cache is not None:
        first_N1D = cache.reshape(first_N1D.shape).to(x.dtype)
    whole_NTD = torch.cat([first_N1D, rows_NTD], 1)
    delta = whole_NTD[:, :-1] - rows_NTD
    delta = delta if packing is None else packing.pack(delta)
    if not output_cache:
        return delta
    lengths_N = torch.full((rows_NTD.shape[0],), rows_NTD.shape[1], device=x.device)
    return delta, _last(whole_NTD, lengths_N if packing is None else packing.lengths_N, 1).squeeze(1)


def _last(whole_NTD: Tensor, lengths_N: Tensor, width: int) -> Tensor:
    """The last `width` steps of each sequence [N, width, D], whose inputs start behind `width` steps of history."""
    places = lengths_N.unsqueeze(1) + torch.arange(width, device=whole_NTD.device)
    return whole_NTD.gather(1, places.unsqueeze(-1).expand(-1, -1, whole_NTD.shape[2]))


def _rewritten(cache: Tensor, new: Tensor) -> Tensor:
    if torch.is_grad_enabled() and (cache.requires_grad or new.requires_grad):
        return new
    return cache.copy_(new)
