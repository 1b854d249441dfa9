"""`python -m orchestrator.doctor +campaign=NAME [key=value ...]`: a cluster before money is spent on it.

Takes what a campaign takes, starts none and leaves nothing behind. docs/cluster.md says what is checked.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator.cluster import check_address, connect, disconnect
from orchestrator.config import Settings, compose, settings_from
from orchestrator.doctor.findings import Finding, failed, healthy, ok
from orchestrator.errors import UsageError
from orchestrator.run_folder import MEND


def main(arguments: list[str]) -> int:
    """Exit codes: 0 healthy, 1 something failed, 2 bad input, 130 Ctrl-C."""
    findings = []
    try:
        settings = settings_from(compose(arguments))
        check_address(settings.cluster)
        for finding in examine(settings):
            print(finding, flush=True)
            findings.append(finding)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if not healthy(findings):
        num = sum(finding.verdict == "failed" for finding in findings)
        print(f"{num} of {len(findings)} checks failed: a campaign would not run as configured")
        return 1
    print("a campaign can start: " + " ".join(["python -m orchestrator", *arguments]))
    return 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything, cheapest first; trials only where nothing failed before.

    Raises:
        UsageError: the cluster cannot be joined.
    """
    from orchestrator.doctor.checks import check_keys, check_nodes, check_pools, check_storage
    from orchestrator.doctor.node import ask_nodes, facts_here
    from orchestrator.doctor.storage import left_at, problem_with
    from orchestrator.doctor.trials import PATIENCE_S, check_trials

    root = settings.run.root if "://" in settings.run.root else str(Path(settings.run.root).absolute())
    if problem := problem_with(root):
        yield failed("store", f"{root} cannot be used: {problem}", f"choose another run.root{_or_mend(root)}")
        return
    yield ok("store", f"{root} can be written and read")
    first = settings.stages[settings.scale.stages[0].name].pool
    cluster = connect(settings.cluster, settings.pools, first, f"doctor-{uuid.uuid4().hex}")
    yield ok("cluster", f"{cluster.description}: {cluster.num_cpus:g} CPUs, {cluster.num_gpus:g} GPUs")
    place = root if settings.checkpoints.uri is None else str(settings.checkpoints_of(root).uri)
    marker = f"doctor-{uuid.uuid4().hex}"
    try:
        with left_at(place, marker):
            here, nodes = facts_here(settings, "cpu", place, marker), ask_nodes(settings, place, marker)
        found: list[Finding] = []
        for part in (
            check_nodes(nodes, here),
            check_pools(settings, nodes),
            check_storage(nodes, place),
            check_keys(settings, nodes, here),
        ):
            for finding in part:
                found.append(finding)
                yield finding
        if healthy(found):
            yield ok(
                "trials", f"one at each stage, for up to {PATIENCE_S / 60:g} minutes where nodes have to come first"
            )
            yield from check_trials(settings)
    finally:
        disconnect(cluster)


def _or_mend(place: str) -> str:
    return f", or {MEND}" if "://" in place else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
