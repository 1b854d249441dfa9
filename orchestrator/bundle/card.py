"""The model card of a bundle: what it is, what is known of it, and what running it means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cognition.printable import one_line
from cognition.records import Claim, Property, Score, Trial
from orchestrator.bundle.ideas import Idea
from orchestrator.bundle.winner import Winner

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
* It was chosen among {num_judged} candidates with a score. Claims carry an interval of paired seeds, which is not
  widened for that choice.
* It was trained on sequences of {length} tokens.
* Decoding keeps a state where every token mixer has a step form; a prompt is then read token by token. Padded batches
  and beams are computed whole at every token.
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
            f"# {one_line(candidate.name)} ({candidate.candidate_id})",
            "",
            f"Candidate {candidate.number} of campaign `{winner.run}`, slot {candidate.slot}, arm {candidate.arm}, "
            f"trained at stage `{trial.stage}` on seed {trial.seed}. {weights}",
            "",
            one_line(candidate.motivation),
            "",
            "## Before you run it",
            "",
            _TRUST,
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
            "## Claims against the best baseline",
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
            *_table(("file", "copied from"), [(f"`{name}`", origin) for name, origin in sorted(files.items())]),
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
    return [told + " It was suspicious and examined again." * verdict.suspicious, "", one_line(verdict.reason), ""]


def _claims(winner: Winner) -> list[str]:
    if not winner.claims:
        return ["None: it was not verified at a higher stage, so that nothing is claimed.", ""]
    return [
        *_table(
            ("stage", "against", "seeds", "difference, nats", "95% interval", ""), map(_claim(winner), winner.claims)
        )
    ]


def _claim(winner: Winner) -> Any:
    def row(claim: Claim) -> tuple[Any, ...]:
        interval, said = "-", "one seed: no interval"
        if claim.low is not None and claim.high is not None:
            interval = f"{_number(claim.low)} to {_number(claim.high)}"
            said = (
                "the interval holds zero" if claim.low <= 0 <= claim.high else "better" if claim.high < 0 else "worse"
            )
        against = winner.names.get(claim.baseline_id, claim.baseline_id)
        return (claim.stage, against, claim.num_seeds, _number(claim.difference), interval, said)

    return row


def _gate(properties: Sequence[Property]) -> list[str]:
    if not properties:
        return ["None is recorded.", ""]
    rows = [
        (one.name, "passed" if one.passed else "REFUSED", _number(one.figure), _number(one.limit), one_line(one.detail))
        for one in properties
    ]
    return _table(("property", "", "figure", "limit", ""), rows)


def _parent(winner: Winner) -> str:
    if winner.parent is None:
        return "none"
    return f"{one_line(winner.parent.name)} ({winner.parent.candidate_id}): `diff_to_parent.diff`"


def _idea(idea: Idea | None) -> str:
    if idea is None:
        return "none: `nearest_idea.md`"
    return f"{one_line(idea.paper.title)} ({idea.paper.year}), by {idea.found_by}: `nearest_idea.md`"


def _table(head: Sequence[str], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    return one_line(str(value)).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "-" if value is None else json.dumps(round(value, 6))
