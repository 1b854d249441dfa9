from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cognition.reader import Reader
from cognition.schema import TABLES, columns_of, sql_type
from cognition.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "lineage.md").read_text()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_column_is_documented_with_its_type_and_key(table: str) -> None:
    section = re.split(r"^##+ ", PAGE.split(f"### {table}\n")[1], flags=re.M)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    documented = [(row[0], row[1]) for row in rows[2:]]
    record_type = TABLES[table]
    columns = columns_of(record_type)
    assert documented == [(column.name, sql_type(column) + "?" * column.nullable) for column in columns]
    assert tuple(row[0] for row in rows[2:] if row[2] == "key") == record_type.KEY


def test_every_view_is_documented_with_its_columns(tmp_path: Path) -> None:
    section = PAGE.split("## Views\n")[1].split("\n- ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    Store.open(tmp_path).close()
    with Reader(tmp_path).connect() as connection:
        names = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        found = {
            name: ", ".join(column[0] for column in connection.execute(f"DESCRIBE {name}").fetchall())
            for (name,) in names
            if name not in TABLES and name != "metrics_as_written"
        }
    assert {row[0]: row[2] for row in rows[2:]} == found


@pytest.mark.parametrize("number", range(3))
def test_the_snippets_run(campaign: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert len(snippets) == 3
    if "polars" in snippets[number]:
        pytest.importorskip("polars")
    folder, _ = campaign
    shutil.copytree(folder, folder.parent / "runs" / "first")
    monkeypatch.chdir(folder.parent)
    names: dict[str, Any] = {}
    exec(compile(snippets[number], "docs/lineage.md", "exec"), names)
    if "trials" in names:
        assert len(names["trials"]) == 5
