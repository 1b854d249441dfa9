-- Views over the tables of a lineage; docs/lineage.md says what each column means.
-- Executed by cognition.reader on every connection, after one view per table has been made.

-- The family tree over first parents. A candidate whose first parent is not here (a founder, or its parent's fragment
-- was set aside) has depth 0. `ancestors` runs from the parent to the founder.
CREATE OR REPLACE VIEW lineage AS
WITH RECURSIVE family AS MATERIALIZED (
    SELECT child.candidate_id, child.number, parent.candidate_id AS parent_id
    FROM candidates AS child
    LEFT JOIN candidates AS parent
        ON parent.candidate_id = child.parent_ids[1] AND parent.candidate_id <> child.candidate_id
),
tree AS (
    SELECT candidate_id, number, parent_id, 0::BIGINT AS depth, []::VARCHAR[] AS ancestors
    FROM family
    WHERE parent_id IS NULL
    UNION ALL
    SELECT child.candidate_id, child.number, child.parent_id, tree.depth + 1,
           list_prepend(tree.candidate_id, tree.ancestors)
    FROM tree
    JOIN family AS child ON child.parent_id = tree.candidate_id
)
SELECT candidate_id, number, parent_id, depth, ancestors
FROM tree
ORDER BY number, candidate_id;

-- What is claimed by now: of each candidate and stage the last revision, against the baseline that decides.
-- Lineages from before claims had states have NULL there.
CREATE OR REPLACE VIEW verified AS
WITH latest AS (
    SELECT *
    FROM claims
    QUALIFY row_number() OVER (PARTITION BY candidate_id, baseline_id, stage ORDER BY revision DESC) = 1
)
SELECT
    latest.stage, candidates.number, candidates.name, latest.state, latest.reason, latest.difference, latest.low,
    latest.high, latest.num_seeds, rivals.name AS baseline, latest.e_value, latest.num_baselines, latest.num_tested,
    latest.num_looks, latest.smallest_difference, latest.seeds_needed, latest.slot_hours_needed,
    latest.gpu_hours_needed, latest.promised, latest.gap, latest.split, latest.mean_loss, latest.std_loss,
    latest.created_at, latest.candidate_id, latest.baseline_id
FROM latest
LEFT JOIN candidates USING (candidate_id)
LEFT JOIN candidates AS rivals ON rivals.candidate_id = latest.baseline_id
QUALIFY row_number() OVER (
    PARTITION BY latest.candidate_id, latest.stage ORDER BY latest.deciding DESC, latest.e_value, latest.baseline_id
) = 1
ORDER BY latest.stage, latest.e_value DESC, candidates.number;

-- The winner's curse, by stage: how much less of the best was verified than exploration had promised.
CREATE OR REPLACE VIEW winners_curse AS
SELECT stage, count(*) AS num_candidates, avg(promised) AS mean_promised, avg(difference) AS mean_difference,
       avg(gap) AS mean_gap, stddev_samp(gap) AS std_gap, count(*) FILTER (gap > 0) AS num_less
FROM verified
WHERE gap IS NOT NULL
GROUP BY stage
ORDER BY stage;

-- One row per judged candidate, best fitness first.
CREATE OR REPLACE VIEW leaderboard AS
WITH judged AS (
    SELECT candidate_id, stage, fitness, loss, benchmark, suspicious
    FROM verdicts
    WHERE isfinite(fitness)
    QUALIFY row_number() OVER (PARTITION BY candidate_id ORDER BY fitness DESC, stage) = 1
),
trained AS (
    SELECT candidate_id, stage, count(*) AS num_trials, any_value(num_parameters) AS num_parameters
    FROM trials
    WHERE status = 'finished'
    GROUP BY candidate_id, stage
),
examined AS (
    SELECT candidate_id, any_value(num_parameters) AS num_parameters, any_value(flops_per_token) AS flops_per_token,
           any_value(state_bytes) AS state_bytes
    FROM reports
    WHERE kind = 'passed'
    GROUP BY candidate_id
),
claimed AS (
    SELECT *
    FROM verified
    QUALIFY row_number() OVER (PARTITION BY candidate_id ORDER BY created_at DESC, num_seeds DESC, stage) = 1
)
SELECT
    row_number() OVER (ORDER BY judged.fitness DESC, candidates.number, candidate_id) AS rank,
    candidates.name,
    candidates.arm,
    candidates.number,
    judged.fitness,
    judged.loss,
    judged.benchmark,
    -- counted in the saved weights; the gate's figure is the candidate's own process's word
    coalesce(trained.num_parameters, examined.num_parameters) AS num_parameters,
    examined.flops_per_token,
    examined.state_bytes,
    claimed.mean_loss AS verified_mean,
    claimed.std_loss AS verified_std,
    claimed.num_seeds AS verified_seeds,
    claimed.difference AS verified_difference,
    claimed.low AS difference_low,
    claimed.high AS difference_high,
    claimed.state AS verified_state,
    judged.suspicious,
    judged.stage,
    coalesce(trained.num_trials, 0) AS num_trials,
    candidate_id
FROM judged
LEFT JOIN candidates USING (candidate_id)
LEFT JOIN trained USING (candidate_id, stage)
LEFT JOIN examined USING (candidate_id)
LEFT JOIN claimed USING (candidate_id)
ORDER BY rank;

-- How far candidates came: what was counted, its outcome, how many.
CREATE OR REPLACE VIEW funnel AS
SELECT step, outcome, num
FROM (
    SELECT 1 AS place, 'proposed' AS step, arm AS outcome, count(*) AS num FROM candidates GROUP BY arm
    UNION ALL
    SELECT 2, 'report', kind, count(*) FROM reports GROUP BY kind
    UNION ALL
    SELECT 3, 'trial ' || stage, concat_ws(': ', status, failure), count(*) FROM trials GROUP BY stage, status, failure
    UNION ALL
    SELECT 4, 'verdict ' || stage, if(isfinite(fitness), 'scored', 'no score'), count(*) FROM verdicts GROUP BY ALL
    UNION ALL
    SELECT 5, 'claim ' || stage, state, count(*)
    FROM verified
    GROUP BY ALL
)
ORDER BY place, step, num DESC, outcome;

-- The arms at what they cost: slot seconds over all attempts at their trials, failures included.
CREATE OR REPLACE VIEW arms AS
WITH ended AS (
    SELECT candidate_id, count(*) FILTER (status = 'finished') AS num_finished,
           count(*) FILTER (status = 'failed') AS num_failed, sum(slot_s) AS slot_s
    FROM trials
    GROUP BY candidate_id
),
paid AS (SELECT candidate_id, sum(slot_s) AS slot_s FROM charges GROUP BY candidate_id),
spent AS (
    SELECT candidate_id, num_finished, num_failed,
           coalesce(paid.slot_s, ended.slot_s) AS slot_s  -- lineages from before there were charges have trials only
    FROM ended
    FULL JOIN paid USING (candidate_id)
),
passed AS (SELECT DISTINCT candidate_id FROM reports WHERE kind = 'passed'),
-- Whoever was asked and gave nothing has no candidate to be counted by.
nothing AS (SELECT asked_arm AS arm, count(*) AS num FROM reports WHERE kind = 'no_proposal' GROUP BY ALL),
proposed AS (
    SELECT
        candidates.arm,
        count(DISTINCT candidates.number) AS num_candidates,
        count(*) AS num_attempts,
        count(passed.candidate_id) AS num_passed,
        coalesce(sum(spent.num_finished), 0)::BIGINT AS num_trials_finished,
        coalesce(sum(spent.num_failed), 0)::BIGINT AS num_trials_failed,
        max(leaderboard.fitness) AS best_fitness,
        avg(leaderboard.fitness) AS mean_fitness,
        min(leaderboard.loss) AS best_loss,
        coalesce(sum(spent.slot_s), 0) AS slot_s
    FROM candidates
    LEFT JOIN passed USING (candidate_id)
    LEFT JOIN spent USING (candidate_id)
    LEFT JOIN leaderboard USING (candidate_id)
    GROUP BY candidates.arm
)
SELECT
    arm,
    coalesce(num_candidates, 0) AS num_candidates,
    coalesce(num_attempts, 0) AS num_attempts,
    coalesce(nothing.num, 0) AS num_no_proposal,
    coalesce(num_passed, 0) AS num_passed,
    coalesce(num_trials_finished, 0) AS num_trials_finished,
    coalesce(num_trials_failed, 0) AS num_trials_failed,
    best_fitness,
    mean_fitness,
    best_loss,
    coalesce(slot_s, 0) AS slot_s
FROM proposed
FULL JOIN nothing USING (arm)
ORDER BY best_fitness DESC NULLS LAST, arm;

-- What attempts to train took, whatever came of them.
CREATE OR REPLACE VIEW spend AS
SELECT stage, arm, outcome, count(*) AS num_attempts, sum(slot_s) / 3600 AS slot_hours, sum(gpu_s) / 3600 AS gpu_hours
FROM charges
GROUP BY stage, arm, outcome
ORDER BY stage, slot_hours DESC, arm, outcome;

-- The same for each candidate over all its stages; in vain is what gave no result.
CREATE OR REPLACE VIEW candidate_spend AS
SELECT
    charges.number,
    candidates.name,
    charges.arm,
    count(*) AS num_attempts,
    count(*) FILTER (outcome <> 'finished') AS num_in_vain,
    sum(slot_s) / 3600 AS slot_hours,
    coalesce(sum(slot_s) FILTER (outcome <> 'finished'), 0) / 3600 AS slot_hours_in_vain,
    sum(gpu_s) / 3600 AS gpu_hours,
    charges.candidate_id
FROM charges
LEFT JOIN candidates USING (candidate_id)
GROUP BY charges.number, candidates.name, charges.arm, charges.candidate_id
ORDER BY slot_hours DESC, charges.number, charges.candidate_id;

-- Training curves with one row per point: where a trial was cut off and ran again, the last report counts.
CREATE OR REPLACE VIEW curves AS
SELECT * EXCLUDE (filename, file_row_number)
FROM metrics_as_written
QUALIFY row_number() OVER (PARTITION BY trial_id, task, step ORDER BY filename DESC, file_row_number DESC) = 1
ORDER BY trial_id, task, step;

-- The gate's checks, one row each.
CREATE OR REPLACE VIEW properties AS
SELECT candidate_id, number, attempt,
       unnest(from_json(properties,
           '[{"name": "VARCHAR", "passed": "BOOLEAN", "figure": "DOUBLE", "limit": "DOUBLE", "detail": "VARCHAR"}]'
       ), recursive := true)
FROM reports;

-- The figures of the sealed evaluation, one row each.
CREATE OR REPLACE VIEW scores AS
SELECT trial_id, candidate_id, stage, seed, split,
       unnest(from_json(scores,
           '[{"name": "VARCHAR", "value": "DOUBLE", "stderr": "DOUBLE", "chance": "DOUBLE", "num_items": "BIGINT"}]'
       ), recursive := true)
FROM trials;

-- The language models at what they cost and what their work was worth, by role.
CREATE OR REPLACE VIEW models AS
WITH asked AS (
    SELECT role, model, count(*) AS num_calls,
           count(*) FILTER (outcome = 'answered') AS num_answered,
           count(*) FILTER (outcome IN ('unreadable', 'cut_off')) AS num_unreadable,
           count(*) FILTER (outcome IN ('timeout', 'dropped', 'cancelled', 'lost')) AS num_unanswered,
           sum(input_tokens)::BIGINT AS input_tokens, sum(cached_tokens)::BIGINT AS cached_tokens,
           sum(output_tokens)::BIGINT AS output_tokens, sum(usd) AS usd, sum(held_usd) AS held_usd,
           avg(latency_s) FILTER (outcome IN ('answered', 'unreadable', 'cut_off')) AS mean_latency_s
    FROM llm_calls
    GROUP BY role, model
),
worth AS (SELECT role, model, avg(reward) AS mean_reward FROM rewards GROUP BY role, model)
SELECT asked.*, worth.mean_reward
FROM asked
LEFT JOIN worth USING (role, model)
ORDER BY role, usd DESC, model;

-- Insights in the light of everything that came after them (cognition/insights.py says the same in Python): the newest
-- measured insight on a subject pools all of them; confidence is the probability that the claimed direction holds.
CREATE OR REPLACE MACRO normal_cdf(x) AS 0.5 * (1 + tanh(0.7978845608 * (x + 0.044715 * x * x * x)));
CREATE OR REPLACE MACRO belief_below(effect, low, high, bound) AS normal_cdf(
    (bound - effect / pow((high - low) / 3.919928, 2) / (400 + 1 / pow((high - low) / 3.919928, 2)))
    * sqrt(400 + 1 / pow((high - low) / 3.919928, 2))
);
CREATE OR REPLACE VIEW standing AS
WITH newest AS (
    SELECT subject, insight_id, candidate_id, pooled_effect, pooled_low, pooled_high, num_studies, num_contradicting
    FROM insights
    WHERE subject <> '' AND source = 'measured'
    QUALIFY row_number() OVER (
        PARTITION BY subject ORDER BY from_run = '' DESC, num_studies DESC, number DESC, insight_id DESC
    ) = 1
),
placed AS (
    SELECT
        insights.insight_id, insights.claim, insights.change, insights.slot, insights.scale, insights.stage,
        insights.subject, insights.source, insights.from_run, insights.number, insights.effect,
        -- a measured insight that pools several results speaks for all of them
        insights.source = 'measured' AND insights.num_studies > 1 AS speaks_for_all,
        CASE
            WHEN if(speaks_for_all, coalesce(insights.pooled_high, insights.high), insights.high) < 0 THEN 'lowers'
            WHEN if(speaks_for_all, coalesce(insights.pooled_low, insights.low), insights.low) > 0 THEN 'raises'
            ELSE 'no difference'
        END AS direction,
        coalesce(newest.pooled_effect, insights.pooled_effect, insights.effect) AS pooled_effect,
        coalesce(newest.pooled_low, insights.pooled_low, insights.low) AS pooled_low,
        coalesce(newest.pooled_high, insights.pooled_high, insights.high) AS pooled_high,
        coalesce(newest.num_studies, insights.num_studies) AS num_studies,
        coalesce(newest.num_contradicting, insights.num_contradicting) AS num_contradicting,
        if(newest.candidate_id <> insights.candidate_id, newest.insight_id, NULL) AS superseded_by
    FROM insights
    LEFT JOIN newest ON newest.subject = insights.subject
)
SELECT
    * EXCLUDE (speaks_for_all),
    CASE
        WHEN pooled_high <= pooled_low THEN NULL
        WHEN direction = 'lowers' THEN belief_below(pooled_effect, pooled_low, pooled_high, 0)
        WHEN direction = 'raises' THEN 1 - belief_below(pooled_effect, pooled_low, pooled_high, 0)
        ELSE belief_below(pooled_effect, pooled_low, pooled_high, 0.02)
            - belief_below(pooled_effect, pooled_low, pooled_high, -0.02)
    END AS confidence
FROM placed
ORDER BY superseded_by IS NOT NULL, confidence DESC, insight_id;

-- What each paper led to: questions that held one of its entries, candidates that came of those, and those in which it
-- was found again.
CREATE OR REPLACE VIEW influence AS
WITH told AS (
    SELECT DISTINCT paper_id, number FROM retrievals WHERE in_prompt AND paper_id IS NOT NULL
),
came AS (
    SELECT told.paper_id, count(DISTINCT told.number) AS num_questions,
           count(DISTINCT leaderboard.number) AS num_scored,
           max(leaderboard.fitness) AS best_fitness, avg(leaderboard.fitness) AS mean_fitness
    FROM told
    LEFT JOIN leaderboard ON leaderboard.number = told.number
    GROUP BY told.paper_id
),
drawn AS (
    SELECT split_part(declared_id, '/', 1) AS paper_id, candidate_id, true AS declared
    FROM origins
    WHERE declared = 'paper' AND declared_id <> ''
    UNION ALL
    SELECT split_part(matched_id, '/', 1), candidate_id, false FROM origins WHERE matched = 'paper'
),
found AS (
    SELECT drawn.paper_id, count(DISTINCT drawn.candidate_id) FILTER (drawn.declared) AS num_declared,
           count(DISTINCT drawn.candidate_id) FILTER (NOT drawn.declared) AS num_matched,
           max(leaderboard.fitness) AS best_drawn_fitness
    FROM drawn
    LEFT JOIN leaderboard ON leaderboard.candidate_id = drawn.candidate_id
    GROUP BY drawn.paper_id
)
SELECT
    papers.paper_id, papers.title, papers.year, papers.topic,
    coalesce(came.num_questions, 0) AS num_questions,
    coalesce(came.num_scored, 0) AS num_scored,
    came.best_fitness, came.mean_fitness,
    coalesce(found.num_declared, 0) AS num_declared,
    coalesce(found.num_matched, 0) AS num_matched,
    found.best_drawn_fitness
FROM papers
LEFT JOIN came ON came.paper_id = papers.paper_id
LEFT JOIN found ON found.paper_id = papers.paper_id
ORDER BY came.best_fitness DESC NULLS LAST, num_questions DESC, papers.paper_id;

-- What early stopping saved, and how often its controls, which were let run on, show it to be wrong.
CREATE OR REPLACE VIEW stopping AS
WITH lengths AS (
    SELECT stage, max(steps) AS steps, count(*) AS num_trials
    FROM trials
    WHERE status = 'finished' OR failure = 'unpromising'
    GROUP BY stage
),
decided AS (
    SELECT early_stops.stage, policy, spared,
           spared AND trials.status = 'finished' AS finished,
           coalesce(spared AND trials.status = 'finished' AND trials.loss <= early_stops.bar, false) AS good,
           if(trials.failure = 'unpromising', lengths.steps - trials.steps, 0) AS steps_saved,
           lengths.steps * lengths.num_trials AS steps_in_all
    FROM early_stops
    LEFT JOIN trials USING (trial_id)
    LEFT JOIN lengths ON lengths.stage = early_stops.stage
)
SELECT
    stage, policy,
    count(*) FILTER (NOT spared) AS num_stopped,
    count(*) FILTER (spared) AS num_spared,
    count(*) FILTER (finished) AS num_spared_finished,
    count(*) FILTER (good) AS num_spared_good,
    count(*) FILTER (good) / nullif(count(*) FILTER (finished), 0) AS false_kill_rate,
    coalesce(sum(steps_saved), 0)::BIGINT AS steps_saved,
    sum(steps_saved) / any_value(steps_in_all) AS share_saved
FROM decided
GROUP BY stage, policy
ORDER BY stage, policy;
