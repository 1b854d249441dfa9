"""How things end: the closed sets of words that rows use. Standard library only; `cognition.records` hands them on."""

from __future__ import annotations

from enum import StrEnum


class ReportKind(StrEnum):
    """How an examination ended."""

    passed = "passed"
    duplicate = "duplicate"  # novelty: same source or same behaviour as an earlier candidate
    refused = "refused"  # a property of the gate failed
    crashed = "crashed"  # the candidate's child died or raised
    timeout = "timeout"
    no_proposal = "no_proposal"  # nobody gave a source text: the models failed, answered without code, or gave up


class TrialStatus(StrEnum):
    """How a trial ended."""

    finished = "finished"
    failed = "failed"
    stopped = "stopped"  # ended early by a stopping policy


class FailureKind(StrEnum):
    """Why a trial has no result."""

    error = "error"  # the candidate raised
    nonfinite = "nonfinite"  # NaN or infinity in loss, weights or hidden states
    diverged = "diverged"
    leak = "leak"  # the sealed evaluation's prefix audit disagreed with the full sequence
    timeout = "timeout"  # past the trial's deadline
    child_died = "child_died"  # the jailed child ended without a result
    killed = "killed"  # SIGKILL that nobody of ours sent: the kernel for want of memory, an operator, itself
    memory = "memory"  # the child's process tree grew beyond its cap
    processes = "processes"  # it started more processes than it may
    disk = "disk"  # it filled its scratch folder
    slow = "slow"  # a step takes far longer than the baseline's
    no_progress = "no_progress"  # the loss does not leave where it started
    too_good = "too_good"  # a training loss that no honest model reaches
    silent = "silent"  # no word from the child for far longer than a step takes
    unpromising = "unpromising"  # a stopping policy saw that it would not reach the bar; nothing to mend
    worker_died = "worker_died"  # the Ray worker that hosted the trial ended
    cancelled = "cancelled"
    corpus = "corpus"  # the node's text cannot be read, or is not the campaign's: the campaign ends


class PartFinding(StrEnum):
    """What taking a part away from a design told of the part."""

    helps = "helps"  # without it the loss is higher
    hurts = "hurts"  # without it the loss is lower
    not_needed = "not_needed"  # without it the loss is surely not higher by as much as is tolerated
    unclear = "unclear"  # too few seeds to tell
    failed = "failed"  # without it the design is refused, or does not train


class ChargeOutcome(StrEnum):
    """What an attempt to train came to."""

    finished = "finished"
    failed = "failed"
    stopped = "stopped"  # ended early: an anomaly, or a stopping policy
    lost = "lost"  # nothing came of it: its worker or its campaign ended, and the trial is tried again


class CallOutcome(StrEnum):
    """How a call of a language model ended."""

    answered = "answered"
    unreadable = "unreadable"  # answered and paid for, without what was asked for
    cut_off = "cut_off"  # answered and paid for, up to the limit of output tokens
    rate_limited = "rate_limited"  # 429
    quota = "quota"  # the account's quota or balance is used up: not worth another try
    server_error = "server_error"  # 5xx
    rejected = "rejected"  # 4xx: the request or the key is at fault
    timeout = "timeout"  # no answer in time
    dropped = "dropped"  # the connection broke, or what came was no answer
    cancelled = "cancelled"  # the campaign stopped meanwhile
    lost = "lost"  # the process that waited for it ended

    @property
    def charged(self) -> bool:
        """Answered in full, so that tokens and cost are known."""
        return self in (CallOutcome.answered, CallOutcome.unreadable, CallOutcome.cut_off)

    @property
    def unanswered(self) -> bool:
        """Nobody knows whether it was paid for: its reservation is kept."""
        return self in (CallOutcome.timeout, CallOutcome.dropped, CallOutcome.cancelled, CallOutcome.lost)


class ClaimState(StrEnum):
    """Where a candidate stands that was retrained beside the baselines; docs/claims.md says what each promises."""

    rejected = "rejected"  # no better than some baseline, as far as its seeds tell, or its training failed
    undecided = "undecided"  # better on its seeds, by too little to tell
    promising = "promising"  # it would be a discovery, had it been the only one tested
    discovery = "discovery"  # better than every baseline, all candidates counted that were tested
