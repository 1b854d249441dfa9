"""Triton and Inductor in the jail, with an empty cache and with a trusted one, and outside of it."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from benchmarks.gpu_campaign.outside import Outside, Spawner
from benchmarks.gpu_campaign.setting import REFERENCE, keep_data_in, settings_for
from benchmarks.gpu_campaign.tasks import CACHES
from benchmarks.gpu_campaign.work import Work
from models.sandbox.layer import Limits
from models.sandbox.parent import Child, ForkServer
from models.sandbox.sealed import expect, talking

MIXER = {"cuda": REFERENCE, "cpu": "linear_attention"}  # what a C++ compiler is done with soonest
_DEADLINE_S = 150.0


def measure(work: Work) -> None:
    """In the jail first, since that is the question. Raises where something did not compile there."""
    keep_data_in(work.out)
    tasks = f"benchmarks.gpu_campaign.{'tasks' if work.device == 'cuda' else 'interpreted'}"
    stage = settings_for(work.device).scale.stages[0]
    told = {"device": work.device, "stage": asdict(stage), "mixer": MIXER[work.device]}
    work.note(jailed=_in_jail(work, tasks, told, None))
    cache = work.out / "cache" / "compilers"
    shutil.rmtree(cache, ignore_errors=True)
    variables = {variable: str(cache / name) for name, variable in CACHES.items()}
    work.note(outside=_asked(Outside(device="cuda", tasks=tasks, variables=variables), told))
    work.note(jailed_with_cache=_in_jail(work, tasks, told, str(cache)))
    shutil.rmtree(cache, ignore_errors=True)
    for place in ("jailed", "jailed_with_cache", "outside"):
        for what in ("workers", "triton", "inductor"):
            if why := work.figures[place].get(what, {"why": "the child said nothing of it"}).get("why"):
                raise RuntimeError(f"{what} does not compile {place.replace('_', ' ')}: {why.strip().splitlines()[-1]}")


def _in_jail(work: Work, tasks: str, told: dict[str, Any], cache: str | None) -> dict[str, Any]:
    with ForkServer(tasks=tasks, device="cuda", limits=Limits.for_device("cuda"), compile_cache=cache) as server:
        return _asked(server, told)


def _asked(spawner: Spawner, told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def spawn(task: str, body: Any) -> AbstractContextManager[Child]:
        return spawner.spawn(task, body, deadline_s=_DEADLINE_S)

    with talking(spawn, "compile_all", told) as child:
        while (message := expect(child, "compiled", "broken", "caches")).kind != "caches":
            said = dict(message.body)
            found[str(said.pop("what"))] = said
        return {**found, "caches": dict(message.body), "cores": os.cpu_count()}
