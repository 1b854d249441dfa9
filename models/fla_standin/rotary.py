"""fla.modules.rotary: rotation of queries and keys by position (arXiv 2104.09864), with XPos scales (arXiv 2212.10554).

Shapes: B batch, T time, H heads, K head dim, R rotated half, P positions of the table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.fla_standin.packing import prepare_position_ids, prepare_sequence_ids
from models.fla_standin.recurrence import state_dtype


def rotary_embedding(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool = False,
    inplace: bool = False,
    seqlen_offsets: int | Tensor = 0,
    cu_seqlens: Tensor | None = None,
    chunk_indices: Tensor | None = None,
) -> Tensor:
    """x_BTHK with its first 2R channels rotated by tables cos, sin [P, R]; `inplace` is accepted and not followed.

    Pairs are channels i and R + i, or 2i and 2i + 1 if `interleaved`. `seqlen_offsets` (one number, or one for each
    sequence) shifts positions.
    """
    positions = _positions(x, seqlen_offsets, cu_seqlens)
    cos_BT1R, sin_BT1R = cos[positions].unsqueeze(-2), sin[positions].unsqueeze(-2)
    width = 2 * cos.shape[-1]
    turned = x[..., :width]
    if interleaved:
        first, second = turned[..., ::2], turned[..., 1::2]
    else:
        first, second = turned.chunk(2, -1)
    pair = (first * cos_BT1R - second * sin_BT1R, second * cos_BT1R + first * sin_BT1R)
    turned = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat([turned, x[..., width:]], -1).to(x.dtype)


class RotaryEmbedding(nn.Module):
    """Rotates q and k [B, T, H, K] by position; with `scale_base` scales them by powers of their distance (XPos).

    XPos counts distance from the middle of the sequence, as fla does: scores do not depend on that, q and k alone do.
    """

    def __init__(
        self,
        dim: int,
        base: float = 10000.0,
        scale_base: float | None = None,
        interleaved: bool = False,
        pos_idx_in_fp32: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.base = float(base)
        self.scale_base = scale_base
        self.interleaved = interleaved
        self.pos_idx_in_fp32 = pos_idx_in_fp32
        self.inv_freq: Tensor
        self.register_buffer("inv_freq", self._frequencies(torch.float32, device), persistent=False)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, base={self.base}, interleaved={self.interleaved}, scale_base={self.scale_base}"

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        seqlen_offset: int | Tensor = 0,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int | None = None,
        chunk_indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if max_seqlen is None:
            max_seqlen = q.shape[1] + int(torch.as_tensor(seqlen_offset).max())
        angles_PR, scale_PR = self._tables(max_seqlen, q)
        cos_PR, sin_PR = angles_PR.cos(), angles_PR.sin()
        q, k = (
            rotary_embedding(
                x,
                cos_PR * scale,
                sin_PR * scale,
                self.interleaved,
                seqlen_offsets=seqlen_offset,
                cu_seqlens=cu_seqlens,
            )
            for x, scale in ((q, scale_PR), (k, 1 / scale_PR))
        )
        return q, k

    def _tables(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        dtype = state_dtype(like)
        positions_P = torch.arange(length, dtype=dtype, device=like.device)
        angles_PR = torch.outer(positions_P, self._frequencies(dtype, like.device))
        if self.scale_base is None:
            return angles_PR, torch.ones_like(angles_PR)
        channels_R = torch.arange(0, self.dim, 2, dtype=dtype, device=like.device)
        scale_R = (channels_R + 0.4 * self.dim) / (1.4 * self.dim)
        return angles_PR, scale_R ** ((positions_P - length // 2) / self.scale_base).unsqueeze(-1)

    def _frequencies(self, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        # Anew rather than from the buffer, which a cast of the module rounds.
        return 1.0 / self.base ** (torch.arange(0, self.dim, 2, dtype=dtype, device=device) / self.dim)


def _positions(x: Tensor, offsets: int | Tensor, cu_seqlens: Tensor | None) -> Tensor:
    if cu_seqlens is None:
        positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        return positions + (offsets.reshape(-1, 1).long() if isinstance(offsets, Tensor) else offsets)
    places = prepare_position_ids(cu_seqlens).long()
    if isinstance(offsets, Tensor):
        return (places + offsets.reshape(-1).long()[prepare_sequence_ids(cu_seqlens).long()]).unsqueeze(0)
    return (places + offsets).unsqueeze(0)
