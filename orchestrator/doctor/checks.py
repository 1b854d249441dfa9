"""What nodes say, held against what a campaign needs. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.config import Settings
from orchestrator.doctor.findings import Finding, failed, ok, warning
from orchestrator.doctor.node import Facts, Node
from orchestrator.pools import GATE

_SAME = ("ray", "torch", "numpy", "pyarrow", "triton")  # packages that trials and Ray's own messages depend on
_LITTLE_GB = 5.0


def check_nodes(nodes: Sequence[Node], here: Facts) -> Iterator[Finding]:
    """Each node's answer against the driver's."""
    for node in nodes:
        subject = f"node {node.name}"
        if node.facts is None:
            yield failed(subject, f"does not answer ({node.silent})", "look at Ray's logs there, or take it out")
            continue
        facts = node.facts
        told = [f"python {facts.python}", *(f"{name} {facts.versions.get(name)}" for name in ("ray", "torch"))]
        differing = [
            f"{name} {facts.versions.get(name)} (here {here.versions.get(name)})"
            for name in _SAME
            if facts.versions.get(name) != here.versions.get(name)
        ]
        if facts.python.rpartition(".")[0] != here.python.rpartition(".")[0]:
            differing.insert(0, f"python {facts.python} (here {here.python})")
        if differing:
            yield failed(subject, f"has {', '.join(differing)}", "install what constraints.txt pins on every node")
        elif facts.code != here.code:
            remedy = "submit with the working tree as runtime_env, or check out the same revision on every node"
            yield failed(subject, f"has other code of this project ({facts.code}, here {here.code})", remedy)
        else:
            cards = f", {len(facts.gpus)} x {facts.gpus[0]}" if facts.gpus else ""
            yield ok(subject, ", ".join(told) + cards)
        yield from _of_one(subject, node, facts, here)


def _of_one(subject: str, node: Node, facts: Facts, here: Facts) -> Iterator[Finding]:
    if node.resources.get("GPU", 0) > len(facts.gpus):
        told = f"Ray counts {node.resources['GPU']:g} GPUs and torch sees {len(facts.gpus)}"
        yield failed(subject, told, "install a driver and a torch that fit each other")
    if facts.sandbox_problem:
        yield failed(subject, f"no candidate can be started: {facts.sandbox_problem}", "see docs/trust.md")
    elif facts.missing_layers:
        told = f"the jail lacks {'; '.join(facts.missing_layers)}"
        yield warning(subject, told, "see docs/trust.md; sandbox.require=full refuses to run without them")
    if facts.data_problem:
        yield failed(subject, f"the corpus cannot be read: {facts.data_problem}", "put it on every node, or share it")
    elif facts.corpus != here.corpus:
        yield failed(subject, "its corpus is another one: losses would not compare", "copy the driver's data there")
    if facts.scratch_free_gb < _LITTLE_GB:
        yield warning(subject, f"{facts.scratch_free_gb:.1f} GB are free for scratch", "make room, or set TMPDIR")


def check_pools(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Whether each stage's trials fit, and how many at once."""
    for name in dict.fromkeys(stage.pool for stage in settings.stages.values()):
        pool = settings.pools[name]
        fits = sum(pool.fitting(node.resources) for node in nodes)
        if fits:
            having = sum(pool.fitting(node.resources) > 0 for node in nodes)
            trials = "one trial" if fits == 1 else f"{fits} trials"
            yield ok(f"pool {name}", f"{trials} at once, on {having} of {len(nodes)} nodes")
        elif pool.limit is not None:
            told = f"no node has room for a trial now; an autoscaler is asked for up to {pool.limit}"
            yield warning(f"pool {name}", told, "check that some worker group offers what the pool takes")
        else:
            takes = ", ".join(f"{kind} {amount:g}" for kind, amount in pool.bundle.items())
            remedy = f"lower pools.{name}, add nodes, or set pools.{name}.limit where nodes come on demand"
            yield failed(f"pool {name}", f"a trial takes {takes}, and no node has that", remedy)
    gate = settings.pools.get(GATE, None)
    if gate is not None and gate.cpus and not any(gate.fitting(node.resources) for node in nodes):
        yield failed("pool gate", f"an examination takes {gate.cpus:g} CPUs, and no node has that", "lower pools.gate")


def check_storage(nodes: Sequence[Node], place: str) -> Iterator[Finding]:
    """Whether checkpoints can be written everywhere, and are one place."""
    broken = [node for node in nodes if node.facts is not None and node.facts.checkpoint_problem]
    for node in broken:
        assert node.facts is not None
        told = f"{place} cannot be used from node {node.name}: {node.facts.checkpoint_problem}"
        yield failed("checkpoints", told, "check checkpoints.uri, credentials and permissions there")
    apart = [node.name for node in nodes if node.facts is not None and not node.facts.sees_marker]
    if apart and not broken:
        told = f"{place} is another place on {', '.join(apart)}: a trial that moves there begins anew"
        yield warning(
            "checkpoints", told, "give checkpoints.uri a shared folder or an object store, as s3://BUCKET/PATH"
        )
    elif not broken:
        yield ok("checkpoints", f"{place} can be written and read from every node")


def check_keys(settings: Settings, nodes: Sequence[Node], here: Facts) -> Iterator[Finding]:
    """Whether those who ask models find the keys that the driver has: agents' actors live near the driver."""
    if not settings.llm.every_model:
        return
    for node in nodes:
        lacking = sorted(set(here.keys) - set(node.facts.keys)) if node.facts is not None and node.driver else []
        if lacking:
            told = f"{', '.join(lacking)} set here and not in Ray's workers on node {node.name}"
            yield failed("keys", told, "set them before `ray start` there: everybody can read a runtime_env")
