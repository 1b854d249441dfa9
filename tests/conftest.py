"""Read before any test module is imported: the environment, the order of the suite on several workers, its summary."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.object_store import ObjectStore, object_store_here

# Keys and servers of whoever runs the tests: no test may ask a model that it has not started itself.
for _name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
    os.environ.pop(_name, None)

# Without a GPU our Triton kernels run interpreted. Triton asks when it is imported, which any test module may do.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# What takes longest starts first, so that the workers end together.
_CAMPAIGNS, _FAULTS = "tests/orchestrator", "tests/orchestrator/test_faults_"
_LONGEST_FIRST = (_CAMPAIGNS, _FAULTS, "tests/trust/test_hostile.py", "tests/trust/test_leaks.py")


def _unit_of(nodeid: str) -> str:
    """What stays on one worker: a file, whose fixtures are then made once.

    Campaigns share a Ray, and those that something happens to share the one to which nothing does.
    """
    path = nodeid.partition("::")[0]
    return next((unit for unit in (_FAULTS, f"{_CAMPAIGNS}/") if path.startswith(unit)), path).rstrip("/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        order = {unit: place for place, unit in enumerate(_LONGEST_FIRST)}
        items.sort(key=lambda item: order.get(_unit_of(item.nodeid), len(order)))


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server for all tests of this process."""
    with object_store_here() as store:
        yield store


@pytest.hookimpl(optionalhook=True)  # pytest runs without workers, and without their plugin, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit_of(nodeid)

    return Units(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the trust suites attempted, contained and missed, whichever worker ran them."""
    suites: dict[str, Counter[bool]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                for suite, contained in (value for name, value in report.user_properties if name == "trust"):
                    suites.setdefault(suite, Counter())[contained] += 1
    if not suites:
        return
    terminalreporter.section("trust")
    terminalreporter.write_line(f"{'suite':<44}{'attempted':>10}{'contained':>10}{'missed':>8}")
    for suite, outcomes in suites.items():
        terminalreporter.write_line(f"{suite:<44}{outcomes.total():>10}{outcomes[True]:>10}{outcomes[False]:>8}")
