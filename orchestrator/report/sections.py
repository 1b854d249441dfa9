"""The sections of a report, each from what was gathered; one that has nothing to say is empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from cognition.records import Ablation, Candidate
from orchestrator.attribution.shown import conclusions, finding, interval
from orchestrator.report.cells import bounds, grid, number, share, text
from orchestrator.report.figures import Figures
from orchestrator.wording import short, spoken

_NAME = 64  # characters of a candidate's name that are shown


def claim_line(claim: Mapping[str, Any]) -> str:
    """One claim in words."""
    gap = f"{claim['difference']:+.4f} nats per token"
    if claim["low"] is not None and claim["high"] is not None:
        gap += f" [{claim['low']:+.4f}, {claim['high']:+.4f}]"
    return (
        f"candidate {claim['number']} ({text(short(claim['name'], _NAME))}) is *{claim['state']}* at {claim['stage']}: "
        f"{gap} to {text(claim['baseline'])} over {claim['num_seeds']} seeds on {spoken(claim['split'])} text"
    )


def _claims(figures: Figures) -> str:
    rows = [
        [
            str(claim["number"]),
            text(short(claim["name"], _NAME)),
            claim["stage"],
            claim["state"],
            str(claim["num_seeds"]),
            bounds(claim["difference"], claim["low"], claim["high"]),
            text(claim["baseline"]),
            number(claim["e_value"], 1),
            number(claim["gap"]),
        ]
        for claim in figures["claims"]
    ]
    heads = ["#", "candidate", "stage", "state", "seeds", "difference [95%]", "to", "e-value", "less than promised"]
    if not rows:
        return ""
    tested = max(claim["num_tested"] or 0 for claim in figures["claims"])
    looks = max(claim["num_looks"] or 0 for claim in figures["claims"])
    return grid(heads, rows) + (
        f"\nCorrected for {tested} candidates; the text was evaluated on {looks} times in all (`docs/claims.md`).\n"
    )


def _noise(figures: Figures) -> str:
    rows = [
        [
            row["stage"],
            row["metric"],
            number(row["sigma"]),
            str(row["dof"]),
            number(row["smallest_difference"]),
            str(row["stage_seeds"]),
        ]
        for row in figures["noise"]
    ]
    heads = ["stage", "figure", "sigma of a paired difference", "dof", "smallest difference that can be told", "seeds"]
    return grid(heads, rows) if rows else ""


def _attribution(figures: Figures) -> str:
    told = []
    for key in dict.fromkeys((row["candidate_id"], row["stage"]) for row in figures["ablations"]):
        mine = [row for row in figures["ablations"] if (row["candidate_id"], row["stage"]) == key]
        rows = [Ablation(**{item.name: row[item.name] for item in fields(Ablation)}) for row in mine]
        rows.sort(key=lambda row: -(row.effect if row.effect is not None else float("inf")))
        whose = Candidate(
            candidate_id=key[0],
            number=mine[0]["number"],
            arm="",
            slot="",
            name=mine[0]["name"],
            motivation="",
            source="",
        )
        told.append(f"Candidate {whose.number} ({text(short(whose.name, _NAME))}) at {key[1]}:\n")
        cells = [[text(short(row.change, 60)), str(row.num_seeds), interval(row), text(finding(row))] for row in rows]
        told.append(grid(["change", "seeds", "loss without - with [95%, all together]", "finding"], cells))
        told.append("\n" + "\n".join(f"- {text(line)}" for line in conclusions(whose, rows)) + "\n")
    return "\n".join(told)


def _arms(figures: Figures) -> str:
    rows = [
        [
            text(arm["arm"]),
            str(arm["num"]),
            number(arm["cost"] / 3600, 3),
            share(arm["num_hits"], arm["num"], arm["hit_low"], arm["hit_high"])
            if figures["best_baseline_loss"] is not None
            else "-",
            bounds(arm["best"], arm["best_low"], arm["best_high"], sign=False),
            bounds(arm["difference"], arm["low"], arm["high"]),
        ]
        for arm in figures["arms"]
    ]
    if not rows:
        return ""
    heads = [
        "arm",
        "candidates",
        "slot-hours",
        "below the best baseline [95%]",
        "expected loss in hand [95%]",
        "to random",
    ]
    return grid(heads, rows) + (
        f"\nIn hand, the best baseline included: at {figures['arms_common_slot_s'] / 3600:.3g} slot-hours of the first "
        "stage each, half of what the cheapest arm took; over random orders, as if no candidate learned from another.\n"
    )


def _leaderboard(figures: Figures) -> str:
    rows = [
        [
            str(row["number"]),
            text(short(row["name"], _NAME)),
            text(row["arm"]),
            number(row["fitness"], 3),
            number(row["loss"]),
            number(row["benchmark"], 2),
            row["verified_state"] or "-",
        ]
        for row in figures["leaderboard"]
    ]
    return grid(["#", "candidate", "arm", "fitness", "loss", "benchmark", "claim"], rows) if rows else ""


def _funnel(figures: Figures) -> str:
    rows = [[text(row["step"]), text(row["outcome"] or "-"), str(row["num"])] for row in figures["funnel"]]
    rows += [["failed at " + row["stage"], text(row["failure"]), str(row["num"])] for row in figures["failures"]]
    return grid(["step", "outcome", "how many"], rows)


def _stages(figures: Figures) -> str:
    told = [
        f"- {row['lower']} ranks as {row['upper']} does: rho {bounds(row['rho'], row['low'], row['high'])} over "
        f"{row['num_pairs']} pairs, of those who climbed"
        for row in figures["rank_correlations"]
    ]
    told += [
        f"- winner's curse at {row['stage']}: {number(row['mean_gap'])} nats less than promised on average "
        f"({row['num_less']} of {row['num_candidates']} gave less)"
        for row in figures["winners_curse"]
    ]
    told += [
        f"- early stopping at {row['stage']} ({row['policy']}): {row['num_stopped']} stopped, "
        f"{(row['share_saved'] or 0):.0%} of the steps saved; of {row['num_spared_finished']} controls "
        f"{row['num_spared_good']} would have been good"
        for row in figures["stopping"]
    ]
    return "\n".join(told) + "\n" if told else ""


def _insights(figures: Figures) -> str:
    rows = [
        [
            text(short(row["claim"], 160)),
            bounds(row["pooled_effect"], row["pooled_low"], row["pooled_high"]),
            str(row["num_studies"]),
            number(row["confidence"], 2),
        ]
        for row in figures["insights"]
    ]
    return grid(["claim", "pooled effect [95%]", "results", "confidence"], rows) if rows else ""


def _efficiency(figures: Figures) -> str:
    rows = [
        [
            text(short(row["name"], _NAME)),
            row["stage"],
            str(row["length"]),
            row["device"],
            *(number(row[f"{name}_ratio"], 2) for name in ("train", "prefill", "decode")),
            number(row["state_bytes"], 0),
            number(row["flops_per_token"], 0),
        ]
        for row in figures["efficiency"]
    ]
    heads = ["candidate", "stage", "T", "device", "train", "prefill", "decode", "state bytes", "FLOPs/token"]
    if not rows:
        return ""
    return (
        grid(heads, rows) + "\nTimes over those of the reference baseline, measured in turn (`docs/efficiency.md`).\n"
    )


def _spend(figures: Figures) -> str:
    rows = [
        [row["stage"], *(number(row[name], 3) for name in ("slot_hours", "gpu_hours", "slot_hours_in_vain"))]
        for row in figures["spend"]
    ]
    return grid(["stage", "slot-hours", "GPU-hours", "in vain"], rows) + (
        f"\nLanguage models: {figures['models_usd']:.2f} USD.\n"
    )


def _published(figures: Figures) -> str:
    rows = []
    for row in figures["published"]:
        keys = ("stage", "model", "source", "text", "our_train_loss")
        told = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in row.items() if key not in keys)
        rows.append(
            [row["stage"], row["model"], f"{told} ({row['source']}, {row['text']})", number(row["our_train_loss"])]
        )
    if rows:
        return grid(["stage", "model", "published", "our training loss"], rows)
    return "No stage has the layers, width, vocabulary and tokens of a published table, so that none is beside it.\n"


def _not_tried(figures: Figures) -> str:
    told = [f"- {text(line)}" for line in figures["not_tried"]]
    undecided = [claim for claim in figures["claims"] if claim["state"] == "undecided"]
    if undecided:
        told.append(f"- {len(undecided)} candidates are undecided: their seeds do not tell a difference from none.")
    return "\n".join(told) + "\n" if told else ""


SECTIONS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("What is claimed", _claims),
    ("Which parts matter", _attribution),
    ("What can be told", _noise),
    ("Arms at equal cost", _arms),
    ("Leaderboard", _leaderboard),
    ("What was learned", _insights),
    ("What it costs to run", _efficiency),
    ("How far candidates came", _funnel),
    ("Do the stages agree", _stages),
    ("Spent", _spend),
    ("Beside published figures", _published),
    ("What this does not say", _not_tried),
)
