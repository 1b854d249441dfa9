from __future__ import annotations

import math
from dataclasses import replace

import pyarrow as pa
import pytest

from cognition.records import RECORDS, Property, Report, ReportKind, Trial
from cognition.schema import TABLES, columns_of, decode, encode, schema_of, sql_type
from tests.cognition.factories import make_candidate, make_metric, make_report, make_trial

# Users write SQL against these names: changing one breaks their queries. "?" marks a column with nulls.
FROZEN = {
    "candidates": "candidate_id VARCHAR, number BIGINT, attempt BIGINT, arm VARCHAR, slot VARCHAR, name VARCHAR, "
    "motivation VARCHAR, source VARCHAR, parent_ids VARCHAR[], changes VARCHAR[], repairs VARCHAR?, "
    "declared VARCHAR, genome VARCHAR?, mode VARCHAR, model VARCHAR?, created_at DOUBLE",
    "reports": "candidate_id VARCHAR, number BIGINT, attempt BIGINT, kind VARCHAR, asked_arm VARCHAR, detail VARCHAR, "
    "properties VARCHAR, fingerprint DOUBLE[], structure DOUBLE[], layout VARCHAR, nearest_id VARCHAR?, "
    "nearest_distance DOUBLE?, structure_id VARCHAR?, structure_distance DOUBLE?, motivation_id VARCHAR?, "
    "motivation_similarity DOUBLE?, duplicate_by VARCHAR, num_parameters BIGINT?, ffn_width BIGINT?, "
    "flops_per_token DOUBLE?, state_bytes BIGINT?, duration_s DOUBLE, created_at DOUBLE",
    "metrics": "trial_id VARCHAR, task VARCHAR, step BIGINT, loss DOUBLE, grad_norm DOUBLE, learning_rate DOUBLE, "
    "tokens BIGINT, elapsed_s DOUBLE, peak_bytes BIGINT?",
    "trials": "trial_id VARCHAR, candidate_id VARCHAR, stage VARCHAR, seed BIGINT, split VARCHAR, status VARCHAR, "
    "failure VARCHAR?, detail VARCHAR, loss DOUBLE?, loss_stderr DOUBLE?, benchmark DOUBLE?, scores VARCHAR, "
    "train_loss DOUBLE?, num_parameters BIGINT?, ffn_width BIGINT?, steps BIGINT, tokens BIGINT, train_s DOUBLE, "
    "slot_s DOUBLE, queued_at DOUBLE, started_at DOUBLE, first_step_at DOUBLE, finished_at DOUBLE, worker VARCHAR, "
    "pool VARCHAR, num_gpus DOUBLE, continued_from BIGINT",
    "charges": "charge_id VARCHAR, trial_id VARCHAR, candidate_id VARCHAR, number BIGINT, stage VARCHAR, seed BIGINT, "
    "arm VARCHAR, pool VARCHAR, num_cpus DOUBLE, num_gpus DOUBLE, slot_s DOUBLE, gpu_s DOUBLE, outcome VARCHAR, "
    "started_at DOUBLE, finished_at DOUBLE, worker VARCHAR, estimated BOOLEAN",
    "efficiency": "candidate_id VARCHAR, stage VARCHAR, length BIGINT, device VARCHAR, measured_at DOUBLE, "
    "machine VARCHAR, precision VARCHAR, batch_size BIGINT, reference VARCHAR, num_repeats BIGINT, "
    "train_tokens_s DOUBLE?, train_spread DOUBLE?, train_ratio DOUBLE?, prefill_s DOUBLE?, prefill_spread DOUBLE?, "
    "prefill_ratio DOUBLE?, decode_s DOUBLE?, decode_spread DOUBLE?, decode_ratio DOUBLE?, decode_form VARCHAR, "
    "state_bytes BIGINT?, train_peak_bytes BIGINT?, prefill_peak_bytes BIGINT?, memory VARCHAR, "
    "flops_per_token DOUBLE?, num_parameters BIGINT?, detail VARCHAR",
    "verdicts": "candidate_id VARCHAR, number BIGINT, stage VARCHAR, fitness DOUBLE?, loss DOUBLE?, loss_term DOUBLE?, "
    "benchmark DOUBLE?, benchmark_term DOUBLE?, quality_term DOUBLE?, quality_source VARCHAR, cost_quality DOUBLE?, "
    "state_quality DOUBLE?, novelty_quality DOUBLE?, loss_weight DOUBLE, benchmark_weight DOUBLE, "
    "quality_weight DOUBLE, opinion DOUBLE?, opinion_spread DOUBLE?, num_opinions BIGINT, suspicious BOOLEAN, "
    "reason VARCHAR, created_at DOUBLE",
    "insights": "insight_id VARCHAR, candidate_id VARCHAR, number BIGINT, claim VARCHAR, slot VARCHAR, stage VARCHAR, "
    "against VARCHAR, against_id VARCHAR, change VARCHAR?, effect DOUBLE, low DOUBLE, high DOUBLE, "
    "evidence VARCHAR[], source VARCHAR, expectation VARCHAR, scale VARCHAR, subject VARCHAR, "
    "pooled_effect DOUBLE?, pooled_low DOUBLE?, pooled_high DOUBLE?, num_studies BIGINT, num_contradicting BIGINT, "
    "confidence DOUBLE?, from_run VARCHAR, created_at DOUBLE",
    "claims": "candidate_id VARCHAR, baseline_id VARCHAR, stage VARCHAR, split VARCHAR, num_seeds BIGINT, "
    "mean_loss DOUBLE, std_loss DOUBLE?, baseline_mean_loss DOUBLE, baseline_std_loss DOUBLE?, difference DOUBLE, "
    "low DOUBLE?, high DOUBLE?, exploration_loss DOUBLE?, revision BIGINT, state VARCHAR, reason VARCHAR, "
    "e_value DOUBLE, deciding BOOLEAN, num_baselines BIGINT, num_tested BIGINT, num_looks BIGINT, "
    "smallest_difference DOUBLE?, seeds_needed BIGINT?, slot_hours_needed DOUBLE?, gpu_hours_needed DOUBLE?, "
    "promised DOUBLE?, gap DOUBLE?, created_at DOUBLE",
    "noise": "scale VARCHAR, stage VARCHAR, metric VARCHAR, num_results BIGINT, num_mixers BIGINT, num_seeds BIGINT, "
    "sigma DOUBLE, dof BIGINT, stage_seeds BIGINT, smallest_difference DOUBLE?, created_at DOUBLE",
    "ablations": "candidate_id VARCHAR, variant_id VARCHAR, parts VARCHAR[], kind VARCHAR, change VARCHAR, "
    "simplified BOOLEAN, stage VARCHAR, split VARCHAR, num_seeds BIGINT, effect DOUBLE?, low DOUBLE?, high DOUBLE?, "
    "finding VARCHAR, tolerance DOUBLE, seeds_needed BIGINT?, detail VARCHAR, run VARCHAR, created_at DOUBLE",
    "early_stops": "trial_id VARCHAR, candidate_id VARCHAR, stage VARCHAR, policy VARCHAR, step BIGINT, loss DOUBLE, "
    "bar DOUBLE, chance DOUBLE?, spared BOOLEAN, detail VARCHAR, created_at DOUBLE",
    "rank_correlations": "scale VARCHAR, lower VARCHAR, upper VARCHAR, num_pairs BIGINT, rho DOUBLE, low DOUBLE?, "
    "high DOUBLE?, created_at DOUBLE",
    "papers": "paper_id VARCHAR, title VARCHAR, identifier VARCHAR, year BIGINT, topic VARCHAR, extends VARCHAR[], "
    "contradicts VARCHAR[], supersedes VARCHAR[], library VARCHAR",
    "entries": "entry_id VARCHAR, paper_id VARCHAR, slots VARCHAR[], trigger VARCHAR, wordings VARCHAR[], "
    "insight VARCHAR, mechanism VARCHAR, equation VARCHAR, implementation VARCHAR, operators VARCHAR[], cost VARCHAR, "
    "state VARCHAR, failure_modes VARCHAR",
    "retrievals": "number BIGINT, attempt BIGINT, arm VARCHAR, item VARCHAR, item_id VARCHAR, paper_id VARCHAR?, "
    "query VARCHAR, rank BIGINT, score DOUBLE, in_prompt BOOLEAN, created_at DOUBLE",
    "origins": "candidate_id VARCHAR, element VARCHAR, declared VARCHAR, declared_id VARCHAR, matched VARCHAR, "
    "matched_id VARCHAR, similarity DOUBLE",
    "vectors": "embedder VARCHAR, item VARCHAR, item_id VARCHAR, vector DOUBLE[]",
    "syntheses": "round BIGINT, number BIGINT, text VARCHAR, works VARCHAR[], worn_out VARCHAR[], cites VARCHAR[], "
    "model VARCHAR, created_at DOUBLE",
    "calibrations": "round BIGINT, name VARCHAR, candidate_id VARCHAR, opinion DOUBLE?, spread DOUBLE?, "
    "num_samples BIGINT, created_at DOUBLE",
    "llm_calls": "call_id VARCHAR, role VARCHAR, purpose VARCHAR, number BIGINT, attempt BIGINT, sample BIGINT, "
    "turn BIGINT, arm VARCHAR, candidate_id VARCHAR?, model VARCHAR, prompt VARCHAR, prompt_version VARCHAR, "
    "prompt_hash VARCHAR, messages VARCHAR, reply VARCHAR, outcome VARCHAR, detail VARCHAR, input_tokens BIGINT, "
    "cached_tokens BIGINT, output_tokens BIGINT, usd DOUBLE, held_usd DOUBLE, held_tokens BIGINT, latency_s DOUBLE, "
    "created_at DOUBLE",
    "rewards": "role VARCHAR, number BIGINT, attempt BIGINT, model VARCHAR, reward DOUBLE, usd DOUBLE, reason VARCHAR, "
    "created_at DOUBLE",
    "events": "event_id VARCHAR, kind VARCHAR, subject VARCHAR, detail VARCHAR, created_at DOUBLE",
}


def test_tables_and_columns_are_frozen() -> None:
    derived = {
        table: ", ".join(
            f"{column.name} {sql_type(column)}{'?' if column.nullable else ''}" for column in columns_of(record_type)
        )
        for table, record_type in TABLES.items()
    }
    assert derived == FROZEN


def test_arrow_types_follow_the_annotations() -> None:
    schema = schema_of(Report)
    assert schema.field("kind").type == pa.string()
    assert schema.field("number").type == pa.int64()
    assert not schema.field("number").nullable
    assert schema.field("fingerprint").type == pa.list_(pa.float64())
    assert schema.field("properties").type == pa.string()
    assert schema.field("nearest_distance").nullable


def test_every_key_names_columns() -> None:
    for record_type in RECORDS:
        assert set(record_type.KEY) <= {column.name for column in columns_of(record_type)}


def test_records_come_back_equal_with_nested_and_infinite_values() -> None:
    reports = [make_report(make_candidate(1)), make_report(make_candidate(2), ReportKind.refused)]
    assert decode(Report, encode(Report, reports)) == reports
    trials = [make_trial(make_candidate(1)), make_trial(make_candidate(2), loss=None)]
    assert decode(Trial, encode(Trial, trials)) == trials
    assert decode(Trial, encode(Trial, trials))[1].failure is trials[1].failure


def test_nan_survives_in_columns_and_in_nested_values() -> None:
    nan = float("nan")
    metric = make_metric(make_trial(make_candidate(1)), 1, loss=nan)
    assert math.isnan(decode(type(metric), encode(type(metric), [metric]))[0].loss)
    report = Report(
        candidate_id="a",
        number=1,
        attempt=0,
        kind=ReportKind.refused,
        properties=(Property(name="finite", passed=False, figure=nan, detail="nan"),),
    )
    [back] = decode(Report, encode(Report, [report]))
    assert math.isnan(back.properties[0].figure or 0)
    assert back.properties[0].detail == "nan"


def test_a_value_of_the_wrong_type_is_refused_with_its_column() -> None:
    wrong = replace(make_metric(make_trial(make_candidate(1)), 1), step="first")
    with pytest.raises(ValueError, match=r"metrics\.step takes int64"):
        encode(type(wrong), [wrong])


def test_none_in_a_column_without_nulls_is_refused() -> None:
    wrong = make_metric(make_trial(make_candidate(1)), 3, loss=None)
    with pytest.raises(ValueError, match=r"metrics\.loss is None in .*'text', 3"):
        encode(type(wrong), [wrong])


def test_a_column_that_an_older_fragment_lacks_takes_its_default() -> None:
    trial = make_trial(make_candidate(1))
    older = encode(Trial, [trial]).drop_columns(["worker", "train_loss"])
    assert decode(Trial, older) == [trial]


def test_a_missing_column_without_default_is_an_error() -> None:
    older = encode(Trial, [make_trial(make_candidate(1))]).drop_columns(["split"])
    with pytest.raises(ValueError, match=r"trials\.split is missing"):
        decode(Trial, older)
