"""The sealed evaluation, from the parent's side: saved weights in, scores out, and no process that does both halves.

A fresh child loads the weights strictly and turns tokens into hidden states; a clean child that never sees candidate
code turns hidden states, head and targets into scores; one more fresh child is asked for prefixes alone, shortest
first and one request at a time, so that the answer is not in its process when it speaks. Both must agree.

Which prefixes are drawn depends on the hidden states already handed in and on a salt that no child is told.

Not guaranteed: that the weights were found by honest training; that is what the held-out targets measure. Nor that a
child which answers falsely at a few positions in a hundred is caught by one audit; several seeds make it likely.
Shapes: N windows, T time, D model width, V vocabulary, A audited positions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass

import numpy as np

from cognition.records import FailureKind, Score
from models import evaluator
from models.data import Batch
from models.evaluator import NonFiniteScore, TokenScores
from models.minimal_pairs.spec import CHANCE, PAIRS
from models.sandbox import wire
from models.sandbox.parent import Child
from models.sandbox.wire import Array, Json, Message
from models.scale import TEXT, ModelSize, Stage

Spawn = Callable[[str, Mapping[str, Json]], AbstractContextManager[Child]]

_TOKENS_PER_REQUEST = 4_096
_CHILD_FAILURES = {
    "nonfinite": FailureKind.nonfinite,
    "diverged": FailureKind.diverged,
    "memory": FailureKind.memory,
}
_PARAMETER_BYTES = 4
_HEAD = "head.weight"
_EMBEDDING = "embedding.weight"


class TrialError(Exception):
    """A trial ends without a result; the kind and the detail go into its record."""

    def __init__(self, kind: FailureKind, detail: str, *, stopped: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.stopped = stopped  # by a policy, while it still ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the children of the evaluation are told about the candidate."""

    source: str
    slot: str
    size: ModelSize
    ffn_width: int
    seed: int
    device: str
    card_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Scores by task, and the parameters counted in the saved weights."""

    scores: Mapping[str, TokenScores]
    num_parameters: int


def evaluate(
    subject: Subject,
    weights: Mapping[str, Mapping[str, Array]],
    eval_sets: Mapping[str, Batch],
    spawn: Spawn,
    *,
    audit_positions: int,
    salt: str,
    pairs: Batch | None = None,
) -> Sealed:
    """Score every task's weights on its evaluation set, and audit them on prefixes.

    `weights` and `eval_sets` are keyed by task; `pairs` are scored with the text's weights; `audit_positions` of 0
    leaves the audit out. Raises TrialError: leak, nonfinite, error, child_died, killed or timeout.
    """
    sets = {task: {task: eval_sets[task]} for task in weights}
    if pairs is not None:
        sets[TEXT][PAIRS] = pairs
    for state in weights.values():
        _check_state(state, subject.size)
    told: dict[str, Json] = {**asdict(subject), "size": asdict(subject.size)}
    whole: dict[str, Array] = {}
    with talking(spawn, "hidden_states", told) as child:
        for task, state in weights.items():
            _load(child, state)
            for name, batch in sets[task].items():
                whole[name] = _hidden(child, batch.inputs, subject.size.hidden_size)
    sealed = _score(subject, weights, whole, sets, spawn)
    if audit_positions == 0:
        return sealed
    with talking(spawn, "hidden_states", told) as child:
        for task, state in weights.items():
            _load(child, state)
            for name, batch in sets[task].items():
                rng = np.random.default_rng(commitment(salt, name, {"hidden_NTD": whole[name]}))
                _audit(child, name, whole[name], batch.inputs, state[_HEAD], audit_positions, rng)
    return sealed


@contextmanager
def talking(spawn: Spawn, task: str, body: Mapping[str, Json]) -> Iterator[Child]:
    """A child for the length of the block; whatever breaks the conversation becomes a TrialError."""
    with spawn(task, body) as child, answering(child, task):
        yield child


@contextmanager
def answering(child: Child, task: str) -> Iterator[None]:
    """Whatever breaks the conversation with this child within the block becomes a TrialError that says how it ended."""
    try:
        yield
    except wire.PeerSilentError as error:
        raise TrialError(FailureKind.timeout, f"the deadline passed in {task!r}") from error
    except wire.PeerGoneError as error:
        ended = child.kill()
        kind = FailureKind.worker_died if ended.with_server else FailureKind.child_died
        if ended.by_outsider:
            kind = FailureKind.killed
        if ended.cause is not None:
            kind = FailureKind(ended.cause)
        raise TrialError(kind, f"{task}: {ended.describe()}") from error
    except wire.WireError as error:
        raise TrialError(FailureKind.error, f"{task}: the child broke the protocol: {error}") from error


def expect(child: Child, *kinds: str, max_array_bytes: int = 0, timeout_s: float | None = None) -> Message:
    """The child's next message, of one of these kinds. Raises TrialError for its "failed", wire.WireError otherwise."""
    message = child.receive(max_array_bytes=max_array_bytes, timeout_s=timeout_s)
    if message.kind == "failed":
        kind = _CHILD_FAILURES.get(message.text("failure"), FailureKind.error)
        raise TrialError(kind, message.text("detail"))
    if message.kind not in kinds:
        raise wire.MalformedError(f"{message.kind[:40]!r} was not due, expected {' or '.join(kinds)}")
    return message


def commitment(salt: str, task: str, arrays: Mapping[str, Array]) -> int:
    """A seed that depends on what a child has handed in, and that it therefore could not know before."""
    digest = hashlib.blake2b(f"{salt}/{task}".encode(), digest_size=8)
    for name in sorted(arrays):
        digest.update(f"/{name}/{arrays[name].shape}/".encode("utf-8", "replace"))
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return int.from_bytes(digest.digest(), "big")


def scores_of(stage: Stage, sealed: Sealed | None, sung: TokenScores | None) -> tuple[Score, ...]:
    """The sealed loss on text, accuracies of probes and minimal pairs with their chance, the canary's excess over ln V.

    Empty without an evaluation.
    """
    if sealed is None or sung is None:
        return ()
    text = sealed.scores[TEXT]
    loss = Score(name="loss", value=text.loss, stderr=text.stderr, num_items=text.num_items)
    chances = {spec.name: spec.chance for spec in stage.probes}
    if stage.minimal_pairs is not None:
        chances[PAIRS] = CHANCE
    accuracies = (
        Score(
            name=f"{name}_accuracy",
            value=sealed.scores[name].accuracy,
            stderr=sealed.scores[name].accuracy_stderr,
            chance=chance,
            num_items=sealed.scores[name].num_items,
        )
        for name, chance in chances.items()
    )
    excess = sung.loss - stage.canary.bound_nats
    return (
        loss,
        *accuracies,
        Score(name="canary_excess", value=excess, stderr=sung.stderr, num_items=sung.num_items),
    )


def _check_state(state: Mapping[str, Array], size: ModelSize) -> None:
    """The host's own matrices have the host's own shapes: parameters cannot hide where they are not counted."""
    for name in (_HEAD, _EMBEDDING):
        shape = state[name].shape if name in state else None
        if shape != (size.vocab_size, size.hidden_size):
            raise TrialError(
                FailureKind.error,
                f"saved weights have {name} of shape {shape}, the host's is {(size.vocab_size, size.hidden_size)}",
            )
    for name, array in state.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise TrialError(FailureKind.nonfinite, f"saved weights: {name[:200]} holds NaN or infinity")


def _load(child: Child, state: Mapping[str, Array]) -> None:
    child.send("model", arrays=state)
    expect(child, "loaded")


def _hidden(child: Child, inputs_NT: Array, hidden_size: int) -> Array:
    """hidden_NTD of the windows, asked for in groups, checked for shape and finiteness."""
    num_windows, length = inputs_NT.shape
    group = max(1, _TOKENS_PER_REQUEST // length)
    parts = []
    for start in range(0, num_windows, group):
        tokens_NT = inputs_NT[start : start + group]
        child.send("tokens", arrays={"tokens_NT": tokens_NT})
        shape = (*tokens_NT.shape, hidden_size)
        hidden_NTD = expect(child, "hidden", max_array_bytes=int(np.prod(shape)) * 4).array("hidden_NTD")
        if hidden_NTD.shape != shape or hidden_NTD.dtype != np.float32:
            raise wire.MalformedError(f"hidden states {hidden_NTD.shape} {hidden_NTD.dtype}, expected {shape} float32")
        if not np.isfinite(hidden_NTD).all():
            raise TrialError(FailureKind.nonfinite, "hidden states hold NaN or infinity")
        parts.append(hidden_NTD)
    return np.concatenate(parts)


def _score(
    subject: Subject,
    weights: Mapping[str, Mapping[str, Array]],
    whole: Mapping[str, Array],
    sets: Mapping[str, Mapping[str, Batch]],
    spawn: Spawn,
) -> Sealed:
    scores: dict[str, TokenScores] = {}
    told: dict[str, Json] = {"size": asdict(subject.size), "slot": subject.slot}
    numbers = set()
    with talking(spawn, "score", told) as child:
        for task, state in weights.items():
            numbers.add(_count(child, task, state))
            for name, batch in sets[task].items():
                arrays = {"hidden_NTD": whole[name], "head_VD": state[_HEAD], "targets_NT": batch.targets}
                child.send("score_pairs" if name == PAIRS else "score", arrays=arrays)
                scores[name] = _scores_in(expect(child, "scored"))
    if len(numbers) != 1:
        raise TrialError(
            FailureKind.error,
            f"the weights saved for different tasks hold {sorted(numbers)} parameters: build the same model every time",
        )
    return Sealed(scores=scores, num_parameters=numbers.pop())


def _scores_in(scored: Message) -> TokenScores:
    return TokenScores(
        loss=scored.real("loss"),
        stderr=scored.optional_real("stderr"),
        accuracy=scored.real("accuracy"),
        accuracy_stderr=scored.optional_real("accuracy_stderr"),
        num_items=scored.integer("num_items"),
    )


def _count(child: Child, task: str, state: Mapping[str, Array]) -> int:
    """Non-embedding parameters in a task's weights, within the budget; eight-byte entries count as two."""
    shapes: dict[str, Json] = {
        name: [*array.shape, math.ceil(array.dtype.itemsize / _PARAMETER_BYTES)] for name, array in state.items()
    }
    child.send("count", {"shapes": shapes})
    counted = expect(child, "counted")
    num_parameters, target = counted.integer("num_parameters"), counted.integer("target_parameters")
    if abs(num_parameters - target) > counted.real("tolerance") * target:
        raise TrialError(
            FailureKind.error,
            f"the weights saved for {task} hold {num_parameters} non-embedding parameters, the budget is {target}: "
            "build no more than the gate saw",
        )
    return num_parameters


def _audit(
    child: Child, task: str, hidden_NTD: Array, inputs_NT: Array, head_VD: Array, num: int, rng: np.random.Generator
) -> None:
    num_windows, length = inputs_NT.shape
    drawn = evaluator.audit_positions(num_windows, length, num, rng)
    windows_A, positions_A = drawn.windows, drawn.positions
    prefix_AD = np.empty((len(positions_A), hidden_NTD.shape[2]), np.float32)
    for position in np.unique(positions_A):  # ascending: no request holds a token that an earlier one hid
        rows = np.flatnonzero(positions_A == position)
        prefixes_NT = np.ascontiguousarray(inputs_NT[windows_A[rows], : position + 1])
        prefix_AD[rows] = _hidden(child, prefixes_NT, hidden_NTD.shape[2])[:, -1]
    try:
        disagreement = evaluator.audit(hidden_NTD[windows_A, positions_A], prefix_AD, head_VD)
    except NonFiniteScore as error:
        raise TrialError(FailureKind.nonfinite, f"{task}: {error}") from error
    if not disagreement <= evaluator.AUDIT_LIMIT_NATS:
        raise TrialError(
            FailureKind.leak,
            f"{task}: prefixes alone and full sequences disagree by {disagreement:.3g} nats at {len(positions_A)} "
            "places drawn; "
            f"the limit is {evaluator.AUDIT_LIMIT_NATS:g}: the output at t depends on later tokens or on the length",
        )
