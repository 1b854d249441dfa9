import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.sandbox.surroundings import Surroundings


@pytest.fixture(scope="module")
def surroundings() -> Iterator[Surroundings]:
    folder = Path(os.path.realpath("/tmp"), f"jail-surroundings-{os.getpid()}")
    folder.mkdir()
    found = Surroundings(folder)
    yield found
    found.listener.close()
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
