"""A table that pandas wrote as one JSON object is read row by row; what only begins like one stays what it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidData
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.report.validation import validate
from tunesmith.spec.training import TrainSpec

SPEC = TrainSpec.read({"model_name_or_path": "-", "train_file": "-"})
ASK, ANSWER = "Wie warm ist es?", "Drei Grad."
TABLE = [
    {"instruction": ASK, "output": ANSWER, "n": 1},
    {"instruction": "Näher?", "output": "Nein.", "n": None},
]


def columns(rows: list[dict[str, Any]], *, first: int = 0) -> dict[str, Any]:
    return {name: {str(first + number): row[name] for number, row in enumerate(rows)} for name in rows[0]}


def split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "columns": list(rows[0]),
        "index": list(range(len(rows))),
        "data": [list(row.values()) for row in rows],
    }


LAID_OUT = {
    "columns": ("pandas: column by column", columns(TABLE)),
    "columns behind a filter": ("pandas: column by column", columns(TABLE, first=17)),
    "split": ("pandas: columns and data apart", split(TABLE)),
    "index": (
        "pandas: row by row under its number",
        {str(number): row for number, row in enumerate(TABLE, 3)},
    ),
    "table": (
        "pandas: table with a schema",
        {
            "schema": {"fields": [{"name": "index", "type": "integer"}], "primaryKey": ["index"]},
            "data": [{"index": number, **row} for number, row in enumerate(TABLE)],
        },
    ),
    "records": ("", TABLE),
    "values": ("a list of values for each column", {name: [row[name] for row in TABLE] for name in TABLE[0]}),
    "data": ("rows under one name", {"data": TABLE, "version": "1.0"}),
    "train": ("rows under one name", {"train": TABLE}),
    "the hub's viewer": (
        "rows under one name",
        {
            "features": [
                {"feature_idx": 0, "name": "instruction", "type": {"dtype": "string", "_type": "Value"}}
            ],
            "rows": [{"row_idx": at, "row": row, "truncated_cells": []} for at, row in enumerate(TABLE)],
            "num_rows_total": 2,
            "partial": False,
        },
    ),
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", LAID_OUT)
def test_a_table_that_pandas_wrote_as_json_is_read_row_by_row(
    name: str, indent: int | None, tmp_path: Path
) -> None:
    called, value = LAID_OUT[name]
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(value, indent=indent).encode())
    file = RowFile(path)
    assert [row for _, row in file.scan()] == TABLE
    assert file.place(2) == "rows.json:row 2"
    report = validate(path, SPEC)
    assert (report.verdict, report.rows) == ("fine", 2)
    assert report.written_as == [*filter(None, [called]), "Alpaca"]


def test_rows_that_the_hubs_viewer_cut_are_refused_by_name(tmp_path: Path) -> None:
    rows = [{"row_idx": at, "row": row, "truncated_cells": ["output"] * at} for at, row in enumerate(TABLE)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"features": [], "rows": rows}))
    with pytest.raises(InvalidData, match=r"row 1: .*truncated_cells") as refused:
        list(RowFile(path).scan())
    assert "own file" in (refused.value.hint or "")


def test_pandas_itself_writes_what_is_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([{"instruction": ASK, "output": ANSWER}, {"instruction": "b", "output": "c"}])
    wanted = frame.to_dict("records")
    for orient in ("columns", "split", "index", "table", "records"):
        path = tmp_path / f"{orient}.json"
        frame.to_json(path, orient=orient)
        assert [row for _, row in RowFile(path).scan()] == wanted, orient


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": {"0": "x"}, "messages": [{"role": "user", "content": "a"}]},
        {"prompt": {"role": "user"}, "answer": {"role": "assistant"}},
        {"meta": {"0": 1}, "b": 2},
        {"tags": ["a", "b"], "text": "x"},
        {"tags": ["a", "b"], "more": ["c"]},
        {"data": [{"role": "user", "content": "a"}], "n": 1},
        {"train": [{"a": 1}], "validation": [{"a": 2}]},
    ],
)
def test_rows_that_begin_like_a_table_stay_rows(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for count in (1, 3):
        path.write_text((json.dumps(row) + "\n") * count)
        assert [found for _, found in RowFile(path).scan()] == [row] * count


BROKEN = {
    "cut": ('{"instruction": {"0": "a", "1": ', "Broken JSON"),
    "twice": ('{"a": {"0": 1, "0": 2}}', "stands twice"),
    "infinite": ('{"a": {"0": 1e999}}', "no JSON number"),
    "two columns of one name": ('{"columns": ["a", "a"], "data": [[1, 2]]}', "two columns `a`"),
    "a short row": ('{"columns": ["a", "b"], "data": [[1, 2], [1]]}', "row 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    content, said = BROKEN[name]
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(InvalidData) as caught:
        list(RowFile(path).scan())
    assert said in caught.value.message
    assert "rows.json" in caught.value.problems[0].field
