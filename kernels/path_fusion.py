"""Path fusion: parallel paths mixed by gates that are made from logits, per head and step. No state, no memory of time.

The published mixers that fuse a value path, short and long filters and a memory differ in the gate alone. With logits
u = logits / temperature, shares s and floors f (the least weight that a path keeps):

    softmax     s = softmax(u),                                       w_p = f_p + (1 - sum_q f_q) s_p
    sigmoid     s_p = sigmoid(u_p), each path for itself,             w_p = f_p + (1 - f_p) s_p
    two_stage   s_p = budget of its group * its share in the group,   w_p = f_p + (1 - sum_q f_q) s_p

where budgets are the softmax of the first G entries of u, and shares the softmax of a group's own slice of the rest.

Shapes: B batch, T time, H heads, V value dim per head, P paths, G groups, L logits per head (P, or G + P with
two_stage).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import checks
from kernels.recurrence import state_dtype

GATES = ("softmax", "sigmoid", "two_stage")


def path_weights(
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> Tensor:
    """w_BTHP, what each path counts; float32 (float64 for float64 logits), differentiable in every tensor given.

    logits are [B, T, H, L]. temperature is a number or one value per head, [H], above 0. floor is one number for each
    path, or a tensor that broadcasts to [B, T, H, P] (learned shares [H, P], say). groups are the sizes of the groups
    of two_stage, in the order of the paths. The values of tensors are taken as they are: keep floors at least 0 and
    their sum at most 1. ValueError if the gate is unknown or L does not fit.

    Source: the gates of the mixers published with ASI-Arch (Liu et al. 2025, arXiv 2507.18074) as their descriptions
    have them; temperature as in Hinton et al. 2015 (arXiv 1503.02531), equation 1.
    """
    dtype = state_dtype(logits)
    num_paths = _num_paths(logits, gate, groups)
    scaled_BTHL = logits.to(dtype) / _per_head(temperature, dtype)
    if gate == "sigmoid":
        shares_BTHP = scaled_BTHL.sigmoid()
    elif gate == "softmax":
        shares_BTHP = scaled_BTHL.softmax(-1)
    else:
        budgets_BTHG, *slices = torch.split(scaled_BTHL, [len(groups), *groups], dim=-1)
        budget_of_group = torch.split(budgets_BTHG.softmax(-1), 1, dim=-1)
        within = [budget * own.softmax(-1) for budget, own in zip(budget_of_group, slices, strict=True)]
        shares_BTHP = torch.cat(within, -1)
    if isinstance(floor, Tensor):
        floor_P = floor.to(dtype)
        floor_P = floor_P.expand(*floor.shape[:-1], num_paths) if floor.dim() else floor_P.expand(num_paths)
        rest = 1 - floor_P if gate == "sigmoid" else 1 - floor_P.sum(-1, keepdim=True)
        return floor_P + rest * shares_BTHP
    return floor + (1 - (floor if gate == "sigmoid" else num_paths * floor)) * shares_BTHP


def reference(
    paths: Sequence[Tensor],
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> Tensor:
    """The definition, o_BTHV: o = sum_p w_p paths[p], each path [B, T, H, V]; weights and options as `path_weights`.

    Computed in float32 (float64 for float64 paths) and returned in the dtype of the first path.
    """
    return weighted_sum(paths, path_weights(logits, gate=gate, temperature=temperature, floor=floor, groups=groups))


def pytorch(
    paths: Sequence[Tensor],
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> Tensor:
    """o_BTHV as in `reference`, path after path: the paths are never stacked."""
    return mix(paths, path_weights(logits, gate=gate, temperature=temperature, floor=floor, groups=groups))


def weighted_sum(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The definition of a fusion with given weights: o_BTHV = sum_p weights_BTHP[..., p] * paths[p]."""
    dtype = state_dtype(paths[0])
    stacked_PBTHV = torch.stack([path.to(dtype) for path in paths])
    return torch.einsum("bthp,pbthv->bthv", weights.to(dtype), stacked_PBTHV).to(paths[0].dtype)


def mix(paths: Sequence[Tensor], weights: Tensor) -> Tensor:
    """o_BTHV = sum_p weights_BTHP[..., p] * paths[p], without stacking; dtypes as in `reference`."""
    dtype = state_dtype(paths[0])
    weight_of_path = weights.to(dtype).unsqueeze(-1).unbind(-2)
    out_BTHV = weight_of_path[0] * paths[0].to(dtype)
    for weight_BTH1, path_BTHV in zip(weight_of_path[1:], paths[1:], strict=True):
        out_BTHV = torch.addcmul(out_BTHV, weight_BTH1, path_BTHV.to(dtype))
    return out_BTHV.to(paths[0].dtype)


def check(
    paths: Sequence[Tensor],
    logits: Tensor,
    *,
    gate: str = "softmax",
    temperature: float | Tensor = 1.0,
    floor: float | Tensor = 0.0,
    groups: Sequence[int] = (),
) -> None:
    """TypeError or ValueError if the arguments do not fit each other; values of tensors are not read."""
    checks.paths(paths)
    checks.floating("logits", logits, "[B, T, H, L]")
    num_paths, steps_BTH = len(paths), list(paths[0].shape[:3])
    if gate == "two_stage" and sum(groups) != num_paths:
        raise ValueError(f"groups={tuple(groups)} hold {sum(groups)} paths; they have to sum to the {num_paths} given")
    if logits.dim() != 4 or list(logits.shape[:3]) != steps_BTH:
        raise ValueError(f"logits have shape {list(logits.shape)}; for these paths give {[*steps_BTH, 'L']}")
    expected = _num_paths(logits, gate, groups)
    if expected != num_paths:
        raise ValueError(
            f"logits have {logits.shape[3]} entries a head; gate={gate!r} of {num_paths} paths takes as many"
        )
    _check_temperature(temperature, num_heads=steps_BTH[2])
    _check_floor(floor, gate, [*steps_BTH, num_paths])


def _num_paths(logits: Tensor, gate: str, groups: Sequence[int]) -> int:
    if gate not in GATES:
        raise ValueError(f"gate={gate!r} is none of {', '.join(GATES)}: name one of these")
    if gate != "two_stage":
        if groups:
            raise ValueError(f"groups={tuple(groups)} is for gate='two_stage', not {gate!r}: leave it out")
        return logits.shape[-1]
    if not groups or min(groups) < 1:
        raise ValueError(f"groups={tuple(groups)}; two_stage needs at least one group and at least one path in each")
    if logits.shape[-1] != len(groups) + sum(groups):
        wanted = f"{len(groups)} budgets + {sum(groups)} paths = {len(groups) + sum(groups)}"
        raise ValueError(f"logits have {logits.shape[-1]} entries a head; groups={tuple(groups)} takes {wanted}")
    return sum(groups)


def _check_temperature(temperature: float | Tensor, *, num_heads: int) -> None:
    if not isinstance(temperature, Tensor):
        if not temperature > 0:
            raise ValueError(f"temperature={temperature}; it divides the logits: give a number above 0")
    elif list(temperature.shape) != [num_heads]:
        raise ValueError(
            f"temperature has shape {list(temperature.shape)}; give a number or one per head, [{num_heads}]"
        )


def _check_floor(floor: float | Tensor, gate: str, shape_BTHP: list[int]) -> None:
    if isinstance(floor, Tensor):
        own = [1] * (4 - floor.dim()) + list(floor.shape)
        if len(own) > 4 or any(n not in (1, wanted) for n, wanted in zip(own, shape_BTHP, strict=True)):
            raise ValueError(f"floor has shape {list(floor.shape)}; it has to broadcast to {shape_BTHP} (BTHP)")
        return
    most = 1.0 if gate == "sigmoid" else 1.0 / shape_BTHP[3]
    if not 0 <= floor <= most:
        reason = (
            "a weight is at most 1" if gate == "sigmoid" else f"the floors of {shape_BTHP[3]} paths sum to at most 1"
        )
        raise ValueError(f"floor={floor}; {reason}: give a number between 0 and {most:g}")


def _per_head(temperature: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    return temperature.to(dtype).unsqueeze(-1) if isinstance(temperature, Tensor) else temperature
