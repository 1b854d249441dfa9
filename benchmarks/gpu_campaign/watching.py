"""How busy a card is while something runs on it: NVML's utilisation, sampled; the processors where there is no card."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from models.sandbox.layer import Device

_EVERY_S = 0.25
_QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "--id=0")

Reader = Callable[[], tuple[float, float]]
"""Percent of the time in which a kernel ran, of late, and GB of memory in use."""


@dataclass(slots=True)
class Usage:
    """What was seen."""

    busy: list[float] = field(default_factory=list)  # percent
    memory_gb: list[float] = field(default_factory=list)
    source: str = ""

    def as_figures(self) -> dict[str, Any]:
        """Means, and the share of samples in which nothing ran."""
        if not self.busy:
            return {"source": self.source, "samples": 0}
        return {
            "source": self.source,
            "samples": len(self.busy),
            "idle_share": round(1 - statistics.fmean(self.busy) / 100, 3),
            "samples_without_work": round(sum(each == 0 for each in self.busy) / len(self.busy), 3),
            "most_memory_gb": round(max(self.memory_gb), 2),
        }


@contextmanager
def watched(device: Device) -> Iterator[Usage]:
    """Sample for the length of the block. A reader that fails is named as the source, and nothing is sampled."""
    usage, done = Usage(), threading.Event()
    try:
        usage.source, read = _reader(device)
    except Exception as error:  # noqa: BLE001  NVML raises its own; a campaign is not ended for want of a figure
        usage.source = f"none: {error}"
        yield usage
        return

    def sample() -> None:
        while not done.wait(_EVERY_S):
            try:
                busy, memory_gb = read()
            except Exception as error:  # noqa: BLE001  the thread's boundary, as above
                usage.source += f", until {error}"
                return
            usage.busy.append(busy)
            usage.memory_gb.append(memory_gb)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()


def _reader(device: Device) -> tuple[str, Reader]:
    if device == "cpu":
        psutil.cpu_percent()
        return "processors", lambda: (psutil.cpu_percent(), psutil.virtual_memory().used / 1e9)
    try:
        import pynvml
    except ImportError:
        if shutil.which(_QUERY[0]) is None:
            raise OSError("neither pynvml nor nvidia-smi is there") from None
        return "nvidia-smi", _by_program
    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByIndex(0)

    def read() -> tuple[float, float]:
        return float(pynvml.nvmlDeviceGetUtilizationRates(card).gpu), pynvml.nvmlDeviceGetMemoryInfo(card).used / 1e9

    return "NVML", read


def _by_program() -> tuple[float, float]:
    told = subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=10).stdout
    return read_line(told)


def read_line(line: str) -> tuple[float, float]:
    """Of nvidia-smi's answer: percent, and MiB as GB. Raises ValueError for what it has no number for."""
    busy, memory_mib = line.strip().splitlines()[0].split(",")
    return float(busy), float(memory_mib) * (1 << 20) / 1e9
