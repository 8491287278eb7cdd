"""Every way a data file can be wrong is told with its place and a cure; nothing is read twice or passed over."""

import json
import os
from pathlib import Path

import pytest

from tunesmith.errors import InvalidData
from tunesmith.rows.files import json_array, reading
from tunesmith.rows.files.reading import RowFile, read_rows
from tunesmith.rows.report.checking import check_file

ROW = {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "世界 🎉"}]}


def write(folder: Path, data: bytes | str, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(path: Path) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        list(read_rows(path))
    error = caught.value
    assert error.hint, "every refusal has a cure"
    assert error.problems
    assert error.problems[0].field.startswith(path.name)
    return error


def test_jsonl_gives_line_numbers_and_passes_over_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '\n{"a": 1}\r\n\n  \n{"a": 2}')
    assert list(read_rows(path)) == [(2, {"a": 1}), (5, {"a": 2})]


def test_array_is_told_by_content_and_numbered_by_row(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff \n" + json.dumps([ROW, {"b": 1.5}], indent=1), "train.jsonl")
    assert list(read_rows(path)) == [(1, ROW), (2, {"b": 1.5})]
    assert RowFile(path).place(2) == "train.jsonl:row 2"


def test_utf8_mark_is_accepted_and_line_separators_in_text_do_not_split(tmp_path: Path) -> None:
    text = '{"a": "one\u2028two\u0085three"}\n'
    assert list(read_rows(write(tmp_path, b"\xef\xbb\xbf" + text.encode()))) == [
        (1, {"a": "one\u2028two\u0085three"})
    ]


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b"", "train.jsonl", "is empty"),
        (b" \n\n", "train.jsonl", "is empty"),
        (b"[]", "train.jsonl", "no row"),
        ('{"a": 1}'.encode("utf-16"), "train.jsonl", "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "train.jsonl", "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "train.jsonl", "UTF-32"),
        (b"\x1f\x8b\x08\x00", "train.jsonl", "gzip"),
        (b"PAR1....", "train.jsonl", "Parquet"),
        (b'{"a": 1}\n{"a": "\xb0\xa1"}', "train.jsonl:2", "byte 16 "),
        (b'\xef\xbb\xbf{"a": "\xff"}', "train.jsonl:1", "byte 10 "),
        (b'[{"a": 1},\n{"a": "\xff"}]', "train.jsonl:2", "byte 18 "),
        (b'{"a": 1}\n{"a": 1,,}\n', "train.jsonl:2", "at column 9, near `"),
        (b'{"a": 1},\n', "train.jsonl:1", "Extra data"),
        (b'{"a": 1}{"a": 2}\n', "train.jsonl:1", "Extra data"),
        (b'{\n "a": 1\n}\n', "train.jsonl:1", "several lines"),
        (b'"text"\n', "train.jsonl:1", "a string, not a JSON object"),
        (b'[{"a": 1}, [2]]', "train.jsonl:row 2", "an array, not a JSON object"),
        (b'{"a": NaN}', "train.jsonl:1", "`NaN`"),
        (b'{"a": -Infinity}', "train.jsonl:1", "`-Infinity`"),
        (b'{"a": 1e999}', "train.jsonl:1", "`1e999`"),
        (b'[{"a": Infinity}]', "train.jsonl:row 1", "`Infinity`"),
        (b'{"a": "x\\u0000"}', "train.jsonl:1", "u0000"),
        (b'{"a": [{"\\ud800": 1}]}', "train.jsonl:1", "surrogate"),
        (b'[{"a": "\\udc00"}]', "train.jsonl:row 1", "surrogate"),
        (b'{"a": ' + b"[" * 100_000, "train.jsonl:1", "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "train.jsonl:1", "cannot be read"),
        (b'[{"a": 1}, {"a" 2}]', "train.jsonl:1", "row 2"),
        (b'[{"a": 1},\n]', "train.jsonl:2", "trailing comma"),
        (b'[{"a": 1}', "train.jsonl:1", "delimiter"),
        (b"[", "train.jsonl:1", "Expecting value"),
        (b'[{"a": 1}]\n[{"a": 2}]', "train.jsonl:2", "Extra data"),
        (b"instruction,output\n1,2\n", "train.jsonl:1", "Broken JSON"),
    ],
)
def test_refusals(tmp_path: Path, data: bytes, place: str, words: str) -> None:
    error = refused(write(tmp_path, data))
    assert error.problems[0].field == place
    assert words in error.message


def test_escapes_that_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a": "\\ud83d\\ude00", "b": "\\\\u0000"}')
    assert list(read_rows(path)) == [(1, {"a": "😀", "b": "\\u0000"})]


def test_missing_folder_and_special_files(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.jsonl").message
    assert "is a folder" in refused(tmp_path).message
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refused(tmp_path / "pipe").message


def test_a_long_line_is_refused_and_the_next_one_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100)
    path = write(tmp_path, '{"a": "' + "x" * 300 + '"}\n{"a": 2}\n')
    found = dict(RowFile(path).scan())
    assert "longer than" in str(found[1])
    assert found[2] == {"a": 2}
    assert refused(path).problems[0].field == "train.jsonl:1"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_array, "_PIECE", piece)
    rows = [ROW, {"b": [1.5, -2e3], "c": '\u2028 é 世界 🎉 \\ "'}, {}, {"d": {"e": None}}]
    for indent in (None, 1):
        path = write(tmp_path, "\ufeff " + json.dumps(rows, indent=indent, ensure_ascii=False))
        assert list(read_rows(path)) == list(enumerate(rows, 1))
    bad = refused(write(tmp_path, '[{"a": 1},\n {"b": 2},\n {"c": tru},\n {"d": 4}]'))
    assert bad.problems[0].field == "train.jsonl:3"
    assert "in row 3: Expecting value at column 8, near" in bad.message
    cut = refused(write(tmp_path, b'[{"a": 1},\n{"a": "\xe4\xb8"}]'))
    assert (cut.problems[0].field, "byte 18 " in cut.message) == ("train.jsonl:2", True)
    assert "trailing comma" in refused(write(tmp_path, '[{"a": 1}, ]')).message
    assert "Extra data" in refused(write(tmp_path, '[{"a": 1}] x')).message


def test_an_element_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(json_array, "_PIECE", 10)
    error = refused(write(tmp_path, '[{"a": 1}, {"b": "' + "x" * 10_000))
    assert (error.problems[0].field, "does not end" in error.message) == ("train.jsonl:row 2", True)


def test_reading_streams(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1}\nbroken\n')
    rows = read_rows(path)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(InvalidData):
        next(rows)


def test_check_file_names_every_bad_row(tmp_path: Path) -> None:
    good = json.dumps(ROW)
    lines = [good, "broken", good, '{"messages": []}', '{"text": "x"}', good]
    with pytest.raises(InvalidData) as caught:
        check_file(write(tmp_path, "\n".join(lines)))
    error = caught.value
    assert [problem.field for problem in error.problems] == [
        "train.jsonl:2",
        "train.jsonl:4",
        "train.jsonl:5",
    ]
    assert all(problem.hint for problem in error.problems)
    assert error.details == {"bad_rows": 3, "rows": 6}
    assert error.message.startswith("3 of 6 rows")


def test_check_file_tells_each_cause_once(tmp_path: Path) -> None:
    rows = ["{}"] * 30 + ["broken {"] * 20 + [json.dumps({"instruction": "q", "output": ""})]
    with pytest.raises(InvalidData) as caught:
        check_file(write(tmp_path, "".join(row + "\n" for row in rows)))
    first, second, third = caught.value.problems
    assert (first.field, second.field, third.field) == ("train.jsonl:1", "train.jsonl:31", "train.jsonl:51")
    assert "30 rows: train.jsonl:1, train.jsonl:2, train.jsonl:3, ..." in first.message
    assert "20 rows: train.jsonl:31 (`broken {`)" in second.message
    assert "rows" not in third.message
    assert caught.value.details == {"bad_rows": 51, "rows": 51}
    assert caught.value.message.startswith("51 of 51 rows cannot be trained on. train.jsonl:1: ")


def test_check_file_facts(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([ROW, ROW]))
    facts = check_file(path)
    assert (facts.rows, facts.format, facts.bytes) == (2, "json", path.stat().st_size)
