"""Records the operator graph of one pass of a mixer, in a form that does not depend on how it was written.

Operators are seen below autograd (TorchDispatchMode), so functions of any kind, in-place work, loops and methods leave
the same trace. What is made canonical: views, casts and scaling by a number are transparent (the numbers are counted
apart); constant tensors are one leaf;
`silu(x)` is `x * sigmoid(x)`, a mean is a sum, a biased map is a map and a sum; one wide projection that is cut apart
counts as the projections that it is cut into. An operator of `kernels.dispatch`, or of fla's stand-in, is one node.

Not guaranteed: anything about code that wants to deceive. It runs where candidate code runs.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LENGTH = 23  # a prime: what is left of it tells a cut in time from one in width
MOST_NODES, MOST_CALLS = 20_000, 100_000
_DEEPEST_CUT = 64

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "linear"})
_TRANSPARENT = {
    *("view", "_unsafe_view", "reshape", "expand", "permute", "t", "transpose", "unsqueeze", "squeeze", "unfold"),
    *("as_strided", "view_as_real", "view_as_complex", "alias", "detach", "clone", "contiguous", "_to_copy", "to"),
    *("lift_fresh", "lift_fresh_copy", "neg"),
}
_CUTS = {"slice", "select", "split", "split_with_sizes", "unbind", "narrow", "index_select"}
_SCALING, _SHIFTING = {"mul", "div"}, {"add", "sub", "rsub"}  # where the other operand is a number
_SAME = {
    **{"_softmax": "softmax", "_safe_softmax": "softmax", "_log_softmax": "log_softmax", "mean": "sum"},
    **{"log_sigmoid_forward": "log_sigmoid", "clamp_min": "clamp", "clamp_max": "clamp"},
    **{"masked_fill": "mask", "where": "mask", "tril": "mask", "triu": "mask", "convolution": "conv"},
    **{"copy": "write", "stack": "cat"},
}
_MAPS = ("mm", "bmm", "matmul", "linear")
# What a cut in width may be moved in front of: maps lose rows of their weights, these lose channels of their inputs.
_BY_CHANNEL = {
    *("add", "mul", "sub", "div", "shift", "pow", "abs", "clamp", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "erf"),
    *("sigmoid", "tanh", "softplus", "log_sigmoid", "relu", "elu", "gelu", "leaky_relu", "conv", "causal_conv"),
}


_COMPUTING = {
    **{"mul": "factor", "div": "factor", "add": "term", "sub": "term", "rsub": "term", "pow": "power"},
    **{"clamp": "bound", "clamp_min": "bound", "clamp_max": "bound", "masked_fill": "filling"},
}
_EPSILON = 1e-4


class TraceTooLarge(Exception):
    """More operators than anybody compares."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator, or a leaf: "x", "parameter", "constant"."""

    op: str
    inputs: tuple[int, ...] = ()
    kind: str = "data"  # "constant", "weights": depends on parameters alone; "data": on x


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Nodes by number; some may lead nowhere."""

    nodes: Sequence[Node]
    output: int
    constants: Mapping[str, int]  # kind and size of the numbers that the pass computes with -> how often


def trace(mixer: nn.Module, hidden_size: int) -> Trace:
    """One pass in evaluation mode over x [1, 23, D]. Raises what the mixer raises, or TraceTooLarge."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x_BTD = torch.randn(1, LENGTH, hidden_size)
        recorder = _Recorder(mixer.eval(), x_BTD)
        with recorder:
            out: Any = mixer(x_BTD)
    output = recorder.value(out)
    recorder.forget()
    return Trace(nodes=recorder.nodes, output=output, constants=recorder.constants)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Which node each tensor is the value of."""

    def __init__(self, mixer: nn.Module, x_BTD: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[Node] = [Node("constant", kind="constant"), Node("x")]
        self._alive: list[Any] = [x_BTD]  # so that no other tensor or frame gets their addresses
        self._value_of: dict[int, tuple[int, int]] = {id(x_BTD): (1, 0)}  # tensor -> node, when
        self._written: dict[int, tuple[int, int]] = {}  # storage -> node, when it was last written in place
        self._weights: dict[int, int] = {}  # storage -> parameter
        self._folded: dict[int, int] = {}  # frame of an operator of ours -> node
        self._cut: dict[tuple[int, Any], int] = {}
        self.constants: Counter[str] = Counter()
        self._now = 0
        for parameter in mixer.parameters():
            self._weights[_storage(parameter)] = self._add("parameter", (), "weights")

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._now += 1
        if self._now > MOST_CALLS:
            raise TraceTooLarge(f"more than {MOST_CALLS} calls of operators")
        frame = _folded_frame(sys._getframe(1))
        node = None if frame is None else self._fold(frame)
        if node is not None:  # in-place work within it is its own business
            out = func(*args, **kwargs)
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    self._set(tensor, node)
            return out
        given = [self._operand(item) for item in [*args, *kwargs.values()]]
        out = func(*args, **kwargs)
        self._record(func, args, [item for item in given if item is not None], out)
        return out

    def value(self, tensor: Tensor) -> int:
        """The node that a tensor is the value of; what nobody made is a constant."""
        storage = _storage(tensor)
        made = self._value_of.get(id(tensor), (-1, -1))
        written = self._written.get(storage, (-1, -1))
        node = max(made, written, key=lambda pair: pair[1])[0]
        return node if node >= 0 else self._weights.get(storage, 0)

    def forget(self) -> None:
        """Let go of the pass's tensors and frames."""
        self._alive.clear()

    def _operand(self, item: Any) -> list[int] | None:
        """Nodes of an argument; None for numbers and whatever else holds no tensor."""
        if isinstance(item, Tensor):
            return [self.value(item)]
        if isinstance(item, list | tuple) and any(isinstance(part, Tensor) for part in item):
            return [self.value(part) for part in item if isinstance(part, Tensor)]
        return None

    def _record(self, func: Any, args: Sequence[Any], given: Sequence[list[int]], out: Any) -> None:
        name = func._overloadpacket.__name__
        mutates = func._schema.is_mutable and name.endswith("_")
        name = name.rstrip("_") if mutates else name
        inputs = [node for nodes in given for node in nodes]
        outputs = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        if not outputs or not inputs or name.endswith("_like"):
            return  # made from nothing, or from a shape: a constant
        for tensor in outputs:
            if name in _CUTS:
                node = self._cut_out(inputs[0], tensor, args[0])
            elif name in _TRANSPARENT:
                node = inputs[0]
            elif all(self.nodes[place].kind == "constant" for place in inputs):
                node = 0
            else:
                node = self._canonical(name, inputs, args)
                self.constants.update([*_numbers(name, args), *self._tables(args)])
            self._set(tensor, node, written=mutates)

    def _tables(self, given: Any) -> Sequence[str]:
        """The size of every constant tensor that takes part: rotations, masks, rates that a buffer holds."""
        tensors = [item for item in tree_leaves(given) if isinstance(item, Tensor)]
        constant = [tensor for tensor in tensors if self.nodes[self.value(tensor)].kind == "constant"]
        real = [tensor.abs() if tensor.is_complex() else tensor for tensor in constant if tensor.numel()]
        sizes = [float(tensor.double().square().mean().sqrt()) for tensor in real]
        return [size for value in sizes if (size := _size("table", value))]

    def _canonical(self, name: str, inputs: list[int], args: Sequence[Any]) -> int:
        """The node of an operator, as one or more of those that all spellings share."""
        number = len(args) > 1 and len(inputs) == 1 and not isinstance(args[1], list | tuple | torch.Size)
        add = self._add
        if name == "silu":
            return add("mul", (inputs[0], add("sigmoid", inputs)))
        if name in _SCALING and number:
            return inputs[0] if isinstance(args[0], Tensor) else add("reciprocal", inputs)
        if name in _SHIFTING and number:
            return inputs[0] if args[1] == 0 else add("shift", inputs)
        if name == "pow":
            if not isinstance(args[0], Tensor):
                return add("exp", inputs)
            power = args[1] if number else None
            return add("mul", inputs * 2) if power == 2 else add("sqrt" if power == 0.5 else "pow", inputs)
        if name == "linalg_vector_norm":
            return add("sqrt", (add("sum", (add("mul", inputs * 2),)),))
        if name in ("addmm", "baddbmm", "addmv"):
            return add("add", (inputs[0], self._map(inputs[1:])))
        if name in _MAPS:
            return self._map(inputs)
        if name == "addcmul":
            return add("add", (inputs[0], add("mul", inputs[1:])))
        if name == "lerp" and len(inputs) == 3:
            start, end, weight = inputs
            return add("add", (start, add("mul", (weight, add("sub", (end, start))))))
        if name == "convolution" and len(inputs) == 3:
            return add("add", (add("conv", inputs[:2]), inputs[2]))
        return add(_SAME.get(name, name), inputs)

    def _map(self, inputs: Sequence[int]) -> int:
        """A matrix product: with weights alone on one side it is a learned map."""
        weights = [place for place in inputs if self.nodes[place].kind == "weights"]
        data = [place for place in inputs if self.nodes[place].kind == "data"]
        if len(weights) == 1 and len(data) == 1:
            return self._add("linear", (data[0], weights[0]))
        return self._add("matmul", inputs)

    def _add(self, op: str, inputs: Sequence[int], kind: str | None = None) -> int:
        if len(self.nodes) >= MOST_NODES:
            raise TraceTooLarge(f"more than {MOST_NODES} operators")
        kinds = {self.nodes[place].kind for place in inputs}
        kind = kind or ("data" if "data" in kinds else "weights")
        self.nodes.append(Node(op, tuple(inputs), kind))
        return len(self.nodes) - 1

    def _set(self, tensor: Tensor, node: int, *, written: bool = False) -> None:
        self._alive.append(tensor)
        self._value_of[id(tensor)] = (node, self._now)
        if written:
            self._written[_storage(tensor)] = (node, self._now)

    # ---- cuts -----------------------------------------------------------------------------------------------------

    def _cut_out(self, node: int, part: Tensor, whole: Tensor) -> int:
        """A part of a value: in time a node of its own, in width as if it had been computed by itself."""
        if part.numel() == whole.numel() or self.nodes[node].kind == "constant":
            return node
        if part.numel() % LENGTH and self.nodes[node].kind == "data":
            return self._add("cut", (node,))
        return self._copied(node, (_storage(part), part.storage_offset(), part.numel(), part.stride()), 0)

    def _copied(self, place: int, part: Any, depth: int) -> int:
        key = (place, part)
        if key not in self._cut:
            node, copied = self.nodes[place], place
            if node.op == "parameter":
                copied = self._add("parameter", (), "weights")
            elif node.op == "linear" and depth < _DEEPEST_CUT:
                data, weights = node.inputs
                copied = self._add("linear", (data, self._copied(weights, part, depth + 1)))
            elif node.op in _BY_CHANNEL and depth < _DEEPEST_CUT:
                copied = self._add(node.op, [self._copied(other, part, depth + 1) for other in node.inputs], node.kind)
            self._cut[key] = copied
        return self._cut[key]

    # ---- operators of ours ----------------------------------------------------------------------------------------

    def _fold(self, frame: FrameType) -> int | None:
        """The node of the call that a frame belongs to; None for one on constants alone."""
        if id(frame) not in self._folded:
            self._alive.append(frame)
            name, given = _call(frame)
            inputs = [self.value(tensor) for tensor in tree_leaves(given) if isinstance(tensor, Tensor)]
            plain = all(self.nodes[place].kind == "constant" for place in inputs)
            numbers = [value for value in given.values() if isinstance(value, float)]
            self.constants.update([size for value in numbers if (size := _size("option", value))])
            self.constants.update(self._tables(given))
            self._folded[id(frame)] = 0 if plain else self._add(name, inputs)
        return self._folded[id(frame)]


def _numbers(name: str, args: Sequence[Any]) -> Sequence[str]:
    """The numbers that an operator takes beside its tensors, those left out that do nothing or next to nothing."""
    kind = _COMPUTING.get(name)
    if kind is None or (name == "pow" and args[1] in (2, 0.5)):
        return ()
    numbers = [float(value) for value in args if isinstance(value, int | float) and not isinstance(value, bool)]
    if name == "div":
        numbers = [1 / value for value in numbers if value]
    return [size for value in numbers if (size := _size(kind, value))]


def _size(kind: str, value: float) -> str:
    """Kind and size in three digits; "" for a factor of one, for what keeps a division from zero, and for no number.

    Signs are left out: they move between a number and the operator that takes it.
    """
    size = abs(value)
    if not math.isfinite(size) or (kind == "factor" and size == 1) or size < _EPSILON:
        return ""
    return f"{kind} {size:.3g}"


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _folded_frame(frame: FrameType | None) -> FrameType | None:
    """The outermost frame that runs a function of `kernels.dispatch` or an operator of the stand-in; None: no such."""
    found = None
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "kernels.dispatch" or (isinstance(module, str) and module.startswith("models.fla_standin.ops_")):
            found = frame
        frame = frame.f_back
    return found


def _call(frame: FrameType) -> tuple[str, Mapping[str, Any]]:
    """The operator's name with the options that are texts or flags, and its tensors and numbers by argument."""
    code, local = frame.f_code, frame.f_locals
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given: dict[str, Any] = {name: local[name] for name in names if name in local}
    name = code.co_name
    if name == "with_state":
        name = getattr(given.pop("operator", None), "__name__", name)
        given |= {"inputs": local.get("inputs"), **local.get("options", {})}
    options = [f"{key}={value}" for key, value in sorted(given.items()) if isinstance(value, str | bool) and value]
    rest = {key: value for key, value in given.items() if not isinstance(value, str | bool | int)}
    return name + (f"[{','.join(options)}]" if options else ""), rest
