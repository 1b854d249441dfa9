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
from models.sandbox.sealed import TrialError, expect, talking

MIXER = {"cuda": REFERENCE, "cpu": "linear_attention"}  # what a C++ compiler is done with soonest
_LEAST_S = 10.0


def measure(work: Work) -> None:
    """In the jail first, since that is the question. Raises where something did not compile there."""
    keep_data_in(work.out)
    tasks = f"benchmarks.gpu_campaign.{'tasks' if work.device == 'cuda' else 'interpreted'}"
    stage = settings_for(work.device).scale.stages[0]
    told = {"device": work.device, "stage": asdict(stage), "mixer": MIXER[work.device]}
    work.note(jailed=_in_jail(work, tasks, told, None))
    cache = work.out / "cache" / "compilers"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    variables = {variable: str(cache / name) for name, variable in CACHES.items()}
    work.note(outside=_asked(work, Outside(device="cuda", tasks=tasks, variables=variables), told))
    work.note(jailed_with_cache=_in_jail(work, tasks, told, str(cache)))
    shutil.rmtree(cache, ignore_errors=True)
    for place in ("jailed", "jailed_with_cache", "outside"):
        for what in ("workers", "triton", "inductor"):
            found = work.figures[place]
            if why := found.get(what, {"why": found.get("end", "the child said nothing of it")}).get("why"):
                raise RuntimeError(f"{what} does not compile {place.replace('_', ' ')}: {why.strip().splitlines()[-1]}")


def _in_jail(work: Work, tasks: str, told: dict[str, Any], cache: str | None) -> dict[str, Any]:
    with ForkServer(tasks=tasks, device="cuda", limits=Limits.for_device("cuda"), compile_cache=cache) as server:
        server.start()  # before the child's time runs
        return _asked(work, server, told)


def _asked(work: Work, spawner: Spawner, told: dict[str, Any]) -> dict[str, Any]:
    """What the child said, and why it said no more where it did not come to its end."""
    found: dict[str, Any] = {"cores": os.cpu_count()}

    def spawn(task: str, body: Any) -> AbstractContextManager[Child]:
        return spawner.spawn(task, body, deadline_s=max(_LEAST_S, work.left_s))

    try:
        with talking(spawn, "compile_all", told) as child:
            while (message := expect(child, "compiled", "broken", "caches")).kind != "caches":
                said = dict(message.body)
                found[str(said.pop("what"))] = said
            found["caches"] = dict(message.body)
    except TrialError as error:
        found["end"] = str(error)
    return found
