"""Who starts a campaign: baselines by name, and files of anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cognition.records import Candidate, candidate_id_of
from models.entry import read_source, with_entry
from models.slots import Slot, published_source, slot_named
from orchestrator.errors import UsageError

BASELINES, DISCOVERIES = "baselines", "discoveries"
BASELINE_ARM = "baseline"
FOUNDER_ARM = "founder"


def founder_names(slot: Slot, founders: Sequence[str]) -> tuple[str, ...]:
    """Names and files, groups and folders opened up, each founder once.

    The reference baseline comes first, whether named or not: every score is relative to it.

    A file may name its class behind a colon: `mixer.py:GatedThing`. A folder stands for its Python files by name.

    Raises:
        ValueError: something that is neither published nor a Python file or a folder with some.
    """
    groups = {BASELINES: slot.baselines, DISCOVERIES: slot.discoveries}
    names: list[str] = []
    for founder in founders:
        if founder in groups:
            names += groups[founder]
        elif founder in _candidates(slot):
            names.append(founder)
        else:
            names += _files(founder, slot)
    return tuple(dict.fromkeys([slot.reference, *names]))


def founder(slot_name: str, name: str, number: int, attempt: int) -> Candidate:
    """The founder as a candidate. What is wrong with a file's text is the gate's to say, not ours.

    Raises:
        UsageError: the file has gone or cannot be read.
    """
    slot = slot_named(slot_name)
    if name in slot.baselines:
        source, arm, motivation, shown = published_source(slot_name, name), BASELINE_ARM, "baseline", name
    elif name in slot.discoveries:
        source, arm, motivation, shown = published_source(slot_name, name), FOUNDER_ARM, "published discovery", name
    else:
        path, entry = _split(name)
        source, arm, motivation, shown = _read(path, entry, slot.entry), FOUNDER_ARM, f"founder from {path}", path.stem
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=number,
        attempt=attempt,
        arm=arm,
        slot=slot_name,
        name=shown,
        motivation=motivation,
        source=source,
    )


def _candidates(slot: Slot) -> tuple[str, ...]:
    """What can start a population by its name."""
    return (*slot.baselines, *slot.discoveries)


def _files(founder: str, slot: Slot) -> list[str]:
    path, entry = _split(founder)
    if path.is_dir() and entry is None:
        found = sorted(str(file) for file in path.glob("*.py") if file.name != "__init__.py")
        if not found:
            raise ValueError(f"campaign.founders has the folder {founder!r}, which holds no .py file: put some there")
        return found
    if path.is_file() and path.suffix == ".py":
        return [founder]
    raise ValueError(
        f"campaign.founders has {founder!r}: no name ({', '.join((BASELINES, DISCOVERIES, *_candidates(slot)))}), and "
        "no Python file or folder of them; paths are read from where the command runs"
    )


def _split(founder: str) -> tuple[Path, str | None]:
    path, colon, entry = founder.rpartition(":")
    return (Path(path), entry) if colon and entry.isidentifier() else (Path(founder), None)


def _read(path: Path, entry: str | None, wanted: str) -> str:
    try:
        source = read_source(path)
    except OSError as error:
        raise UsageError(
            f"founder {path} cannot be read ({error.strerror or error}): put it back, or leave it out with "
            "run.fresh=true"
        ) from error
    try:
        return with_entry(source, entry, wanted)
    except ValueError:
        return source
