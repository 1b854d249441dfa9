"""The model card of a bundle: what it is, what is known of it, and what running it means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cognition.records import Claim, Property, Score, Trial
from orchestrator.bundle.ideas import Idea
from orchestrator.bundle.shown import whole
from orchestrator.bundle.winner import Winner
from orchestrator.report.cells import grid, text
from orchestrator.shown_claims import interval

_USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(PATH, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(PATH, trust_remote_code=True)
print(tokenizer.decode(model.generate(**tokenizer("def ", return_tensors="pt"), max_new_tokens=40)[0]))
```
"""
_TRUST = """\
`candidate.py` was written by a program, and **`trust_remote_code=True` runs it with your rights**. In the campaign it
ran in a jail, which is not here. The gate's report below says what was executed on it before; it shows that the layer
is what it claims to be, not that its text is harmless. It is short: read it.
"""
_LIMITS = """\
* Figures hold for this size, this text and this number of tokens. They say nothing about a larger model.
* Losses are per token of this tokeniser, and do not compare across tokenisers.
* It was chosen among {num_judged} candidates with a score. The states of claims are corrected for
  the candidates tested at their stage; the intervals are not widened for that choice.
* It was trained on sequences of {length} tokens.
* Decoding keeps a state where every token mixer has a step form; a prompt is then read token by token. Padded batches
  and beams are computed whole at every token.
"""
_STATES = """\
Negative differences are better. State and reason are the candidate's against all of these baselines, and the state is
corrected for all candidates tested at the stage: `rejected` is no better than some baseline as far as its seeds tell,
`undecided` is better by too little to tell, `promising` would be a discovery had it been the only one tested.
"""
_FILES = """\
`source.py` is the candidate as it was proposed, `candidate.py` the same with relative imports. `gate.json`,
`verdict.json`, `trials.json`, `origins.json`, `config.yaml` and `environment.json` are what the campaign recorded.
`fla_layer.py` (token mixers) is a layer for models of flash-linear-attention. Code of this folder that is not the
candidate's is under Apache-2.0.
"""


def card(winner: Winner, idea: Idea | None, published: str, weights: str, files: Mapping[str, str]) -> str:
    """Markdown with the head that model hubs read.

    Args:
        winner: what the campaign found out.
        idea: nearest of the library.
        published: name of the nearest published source.
        weights: where they come from, in words.
        files: copied file of the bundle -> origin.
    """
    candidate, trial, stage = winner.candidate, winner.trial, winner.job.stage
    report = winner.report
    measured: list[tuple[str, Any]] = [
        ("non-embedding parameters", trial.num_parameters),
        ("layers x width", f"{stage.size.num_layers} x {stage.size.hidden_size}, {stage.size.num_heads} heads"),
        ("matched feed-forward width", trial.ffn_width),
        ("FLOPs per token, forward, first stage", report.flops_per_token if report else None),
        ("decode state of a layer, bytes, first stage", report.state_bytes if report else None),
        ("trained on", f"{trial.tokens:,} tokens, sequences of {stage.length}"),
    ]
    head = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [architecture-search]", "---"]
    return "\n".join(
        [
            *head,
            "",
            f"# {text(candidate.name)} ({candidate.candidate_id})",
            "",
            f"Candidate {candidate.number} of campaign `{winner.run}`, slot {candidate.slot}, arm {candidate.arm}, "
            f"trained at stage `{trial.stage}` on seed {trial.seed}. {weights}",
            "",
            "## Before you run it",
            "",
            _TRUST,
            "## Motivation",
            "",
            f"As whoever proposed it tells it: {whole(candidate.motivation)}",
            "",
            "## Use",
            "",
            _USE,
            *_table(("", ""), [(name, "-" if value is None else value) for name, value in measured]),
            "## Figures of these weights",
            "",
            f"Sealed evaluation on {trial.split} text. `./reproduce.sh` gives them again.",
            "",
            *_table(("figure", "value", "standard error", "chance", "items"), [_score(one) for one in trial.scores]),
            "## All finished trials",
            "",
            *_table(("stage", "seed", "split", "loss", "standard error", "benchmark"), map(_trial, winner.trials)),
            "## Verdict",
            "",
            *_verdict(winner),
            "## Claims against baselines",
            "",
            *_claims(winner),
            "## The gate's report",
            "",
            *_gate(report.properties if report else ()),
            "## Where it comes from",
            "",
            f"* parent: {_parent(winner)}",
            f"* nearest idea of the library: {_idea(idea)}",
            f"* nearest published source: `{published}`: `diff_to_published.diff`",
            "",
            "## Limits",
            "",
            _LIMITS.format(num_judged=winner.num_judged, length=stage.length),
            "## Files",
            "",
            *_table(("file", "copied from"), sorted(files.items())),
            _FILES,
        ]
    )


def _score(score: Score) -> tuple[Any, ...]:
    return (score.name, _number(score.value), _number(score.stderr), _number(score.chance), score.num_items)


def _trial(trial: Trial) -> tuple[Any, ...]:
    figures = (_number(trial.loss), _number(trial.loss_stderr), _number(trial.benchmark))
    return (trial.stage, trial.seed, trial.split, *figures)


def _verdict(winner: Winner) -> list[str]:
    verdict = winner.verdict
    if verdict is None:
        return ["None: it was never judged.", ""]
    told = f"Fitness {_number(verdict.fitness)} at stage `{verdict.stage}` (loss {_number(verdict.loss)})."
    told += " It was suspicious and examined again." * verdict.suspicious
    return [told, "", f"Reason: {whole(verdict.reason)}", ""]


def _claims(winner: Winner) -> list[str]:
    if not winner.claims:
        return ["None: it was not verified at a higher stage, so that nothing is claimed.", ""]
    head = ("stage", "against", "state", "reason", "seeds", "difference [95% interval], nats", "tested there")
    return [*_table(head, [_claim(winner, claim) for claim in winner.claims]), _STATES]


def _claim(winner: Winner, claim: Claim) -> tuple[Any, ...]:
    against = winner.names.get(claim.baseline_id, claim.baseline_id)
    told = (claim.state.value, claim.reason, claim.num_seeds, interval(claim), claim.num_tested)
    return (claim.stage, against + " (decides)" * claim.deciding, *told)


def _gate(properties: Sequence[Property]) -> list[str]:
    if not properties:
        return ["None is recorded.", ""]
    rows = [
        (one.name, "passed" if one.passed else "REFUSED", _number(one.figure), _number(one.limit), one.detail)
        for one in properties
    ]
    return _table(("property", "", "figure", "limit", ""), rows)


def _parent(winner: Winner) -> str:
    if winner.parent is None:
        return "none"
    return f"{text(winner.parent.name)} ({winner.parent.candidate_id}): `diff_to_parent.diff`"


def _idea(idea: Idea | None) -> str:
    if idea is None:
        return "none: `nearest_idea.md`"
    return f"{text(idea.paper.title)} ({idea.paper.year}), by {idea.found_by}: `nearest_idea.md`"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [grid(head, [[text(str(value)) for value in row] for row in rows])]


def _number(value: float | None) -> str:
    return "-" if value is None else json.dumps(round(value, 6))
