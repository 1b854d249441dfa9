"""A GPU that several trials share, as far as that can be seen without one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from models.sandbox.child import TaskError, kind_of
from models.sandbox.file_rules import _installation
from models.sandbox.starting import allocated_share

GIB = 1 << 30


def test_the_context_is_part_of_the_share() -> None:
    assert allocated_share(0.25, 80 * GIB) == pytest.approx(0.25 - 0.75 / 80)
    assert sum(allocated_share(1 / 8, 16 * GIB) * 16 * GIB + 0.75 * GIB for _ in range(8)) == pytest.approx(16 * GIB)


def test_a_share_that_the_context_fills_is_no_place_to_train() -> None:
    with pytest.raises(TaskError, match="less than its context") as caught:
        allocated_share(0.05, 8 * GIB)
    assert caught.value.kind == "memory"


def test_a_full_gpu_is_a_failure_of_memory() -> None:
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")) == "memory"
    assert kind_of(RuntimeError("CUDA error: an illegal memory access was encountered")) == "error"


def test_programs_in_the_wide_jail_read_every_folder_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer" / "lib" / "site-packages"
    outer.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere" / "linked"
    elsewhere.mkdir(parents=True)
    (outer / "linked").symlink_to(elsewhere)
    package = ModuleType("linked")
    package.__path__ = [str(outer / "linked")]
    monkeypatch.setitem(sys.modules, "linked", package)
    monkeypatch.setattr(sys, "path", [*sys.path, str(outer), str(tmp_path)])
    readable = [Path(os.path.realpath(folder)) for folder in _installation()]
    assert any(outer.is_relative_to(folder) for folder in readable)
    assert any(elsewhere.is_relative_to(folder) for folder in readable)
    assert not any(tmp_path.joinpath("private").is_relative_to(folder) for folder in readable)
