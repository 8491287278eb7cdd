"""Tables and packed files are read as other files are: streamed, in place and with a cure for what is wrong."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files import decompress, reading, tabular
from tunesmith.rows.files.reading import RowFile, read_rows
from tunesmith.rows.report.checking import check_file

ROW = {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "世界 🎉"}]}


def write(folder: Path, data: bytes | str, name: str) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def refused(path: Path) -> str:
    with pytest.raises(InvalidData) as caught:
        list(read_rows(path))
    assert caught.value.hint
    assert caught.value.problems
    return f"{caught.value.problems[0].field}|{caught.value.message}"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_quotes_newlines_and_blank_lines(tmp_path: Path, delimiter: str, mark: str) -> None:
    text = f'{mark}prompt|response\r\n"a|b"|"say ""hi"""\r\n\r\n"two\nlines"|x\r\nlast|世界'.replace(
        "|", delimiter
    )
    path = write(tmp_path, text, "rows.tsv" if delimiter == "\t" else "rows.csv")
    assert list(read_rows(path)) == [
        (2, {"prompt": f"a{delimiter}b", "response": 'say "hi"'}),
        (4, {"prompt": "two\nlines", "response": "x"}),
        (6, {"prompt": "last", "response": "世界"}),
    ]
    assert RowFile(path).place(4) == f"{path.name}:4"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n1,2,3\n", "rows.csv:2|rows.csv:2: The row has 3 fields, the first line names 2"),
        (b"a,a\n1,2\n", "rows.csv:1|The first line of `rows.csv` names `a` twice"),
        (b",\n1,2\n", "rows.csv:1|The first line of `rows.csv` names no column"),
        (b'a,b\n"1,2\n' + b"x\n" * 100, "rows.csv:2|"),
        (b"a,b\n1,\xff\n", "rows.csv:2|rows.csv:2: The text is not UTF-8: byte 6 "),
        (b"a,b\n1,x\x00\n", "rows.csv:2|rows.csv:2: The row holds the character"),
        (b"a,b\n", "rows.csv|"),
        ("a,b\n1,2\n".encode("utf-16"), "rows.csv|"),
    ],
)
def test_csv_refusals(tmp_path: Path, data: bytes, said: str) -> None:
    assert refused(write(tmp_path, data, "rows.csv")).startswith(said)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (",a,b", "0,1,2"),
        ('"","a","b"', '"1",1,2'),
        (",,a,b", "x,0,1,2"),
        ("a,b,,", "1,2,,"),
        (" ,a,b,", "0,1,2,"),
    ],
    ids=["pandas", "R", "two levels", "spreadsheet", "both"],
)
def test_a_column_without_a_name_is_passed_over(tmp_path: Path, header: str, line: str) -> None:
    """Row numbers, as pandas and R write them first, and the empty columns at the end of a spreadsheet."""
    assert list(read_rows(write(tmp_path, f"{header}\n{line}\n", "rows.csv"))) == [(2, {"a": "1", "b": "2"})]


def test_a_csv_row_without_end_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 1000)
    said = refused(write(tmp_path, 'a,b\n1,"' + "x\n" * 5000, "rows.csv"))
    assert "longer than" in said


def test_json_is_json_whatever_it_is_called(tmp_path: Path) -> None:
    assert RowFile(write(tmp_path, json.dumps(ROW), "rows.csv")).format == "jsonl"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.txt"])
def test_packed_files_hold_what_they_held(tmp_path: Path, pack: Any, name: str) -> None:
    texts = {
        "rows.jsonl": "\ufeff" + json.dumps(ROW) + "\n\n" + json.dumps(ROW),
        "rows.json": json.dumps([ROW, ROW], indent=1),
        "rows.csv": "instruction,output\nq,a\n",
        "rows.txt": "one\ntwo\n",
    }
    plain = write(tmp_path, texts[name], name)
    packed = write(tmp_path, pack(texts[name].encode()), name + (".gz" if pack is gzip.compress else ".zst"))
    assert list(RowFile(packed).scan()) == list(RowFile(plain).scan())
    assert RowFile(packed).format == RowFile(plain).format
    assert RowFile(packed).packing


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b'{"a": 1}\n' * 1000)[:-20], "cannot be unpacked (gzip)"),
        (zstd(json.dumps([ROW] * 99).encode())[:-9], "cannot be unpacked (zstd)"),
        (b"\x1f\x8b\x08\x00 nonsense", "cannot be unpacked"),
        (b"\x28\xb5\x2f\xfd nonsense", "cannot be unpacked"),
        (gzip.compress(gzip.compress(b"{}")), "packed twice"),
        (gzip.compress(b"PAR1"), "packed Parquet"),
        (gzip.compress('{"a": 1}'.encode("utf-16")), "UTF-16"),
        (gzip.compress(b""), "is empty"),
        (b"PAR1" + b"\x00" * 100, "cannot be read as Parquet"),
        (b"PAR1....PAR1", "cannot be read as Parquet"),
    ],
)
def test_broken_packages_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(write(tmp_path, data, "rows.jsonl"))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.slow
def test_a_bomb_is_refused_by_what_it_unpacks_to(
    tmp_path: Path, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "_SURELY_FINE", 1 << 20)
    bomb = write(tmp_path, pack(b'{"a": 1}\n' * 2_000_000), "rows.jsonl")
    assert "unpacks to more than" in refused(bomb)
    array = write(tmp_path, pack(b"[" + b'{"a": 1},' * 2_000_000 + b"{}]"), "rows.json")
    assert "unpacks to more than" in refused(array)


def test_parquet_rows(tmp_path: Path) -> None:
    rows = [ROW, {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    pq.write_table(pa.Table.from_pylist(rows * 300), tmp_path / "rows.bin", row_group_size=100)
    found = list(read_rows(tmp_path / "rows.bin"))
    assert [number for number, _ in found] == list(range(1, 601))
    assert found[1][1] == rows[1]
    facts = check_file(tmp_path / "rows.bin")
    assert (facts.rows, facts.format) == (600, "parquet")
    assert RowFile(tmp_path / "rows.bin").place(3) == "rows.bin:row 3"


def test_parquet_with_bad_text_names_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"\xff\xfe", b"a\x00b"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet")
    found = dict(RowFile(tmp_path / "rows.parquet").scan())
    assert found[1] == {"text": "fine"}
    assert "not UTF-8" in str(found[2])
    assert "u0000" in str(found[3])


def test_parquet_that_stores_one_value_for_all_rows_is_unpacked_little_by_little(tmp_path: Path) -> None:
    """A megabyte that stands in 20 000 rows is 20 GB as plain rows, and 1 MB on disk."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"text": column}), tmp_path / "bomb.parquet")
    script = (
        "import sys; from tunesmith.rows.files.reading import RowFile\n"
        "n = 0\n"
        "for n, _ in RowFile(sys.argv[1]).scan():\n"
        "    if n == 2000: break\n"
        "print(n)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bomb.parquet")],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30)),
        check=False,
    )
    assert ran.stdout.strip() == "2000", ran.stderr


def test_a_parquet_group_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"text": ["a" * 1000] * 10}), tmp_path / "rows.parquet")
    monkeypatch.setattr(tabular, "MAX_GROUP_BYTES", 10)
    assert "row group" in refused(tmp_path / "rows.parquet")


def test_a_name_that_stands_twice_is_no_row(tmp_path: Path) -> None:
    path = write(
        tmp_path, '{"a": 1, "a" : 2}\n{"a": [{"b": 1, "b": 1}]}\n{"a": "\\"b\\":", "b": 1}\n', "rows.jsonl"
    )
    found = dict(RowFile(path).scan())
    assert "`a` stands twice" in str(found[1])
    assert "`b` stands twice" in str(found[2])
    assert found[3] == {"a": '"b":', "b": 1}
    assert "`a` stands twice" in refused(write(tmp_path, '[{"a": 1, "a": 2}]', "rows.json"))


# --- whatever a file holds, it ends in rows, in problems with a place, or in one refusal with a cure

_PIECES = st.sampled_from(
    [
        b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"\r\n", b"\n", b"\r", b",", b"[", b"]", b"{", b"}",
        b'{"a": 1}', b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"a": 1},', b"[" * 3000, b'"' * 3,
        b'{"messages": []}', b"\x1f\x8b", b"PAR1", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"a,b", b"1e999", b"-" * 50,
        b'{"text": "' + b"x" * 3000 + b'"}', b'{"a": ' + b"9" * 5000 + b"}", "é世🎉".encode(), b"\\u0000", b" \t",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=12).map(b"".join),
    name=st.sampled_from(["t.jsonl", "t.json", "t.csv", "t.txt", "t.parquet", "t.jsonl.gz", "t.csv.zst"]),
)
def test_hostile_files_end_in_rows_problems_or_one_refusal(tmp_path: Path, data: bytes, name: str) -> None:
    for path in (write(tmp_path, data, name), write(tmp_path, gzip.compress(data), "packed-" + name)):
        refusal: InvalidData | None = None
        try:
            for number, row in RowFile(path).scan():
                assert number > 0
                if isinstance(row, RowProblem):
                    assert row.message
                    assert row.hint
                else:
                    json.dumps(row).encode()
        except InvalidData as error:
            refusal = error
        path.unlink()
        if refusal is not None:
            assert refusal.hint
            assert refusal.problems
            assert refusal.problems[0].field


@pytest.mark.slow
def test_a_line_of_two_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": "')
        file.truncate(2 * 2**30)  # a hole: it takes no disk
        file.seek(0, os.SEEK_END)
        file.write(b'"}\n{"a": 2}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = dict(RowFile(path).scan())
    assert "longer than" in str(found[1])
    assert found[2] == {"a": 2}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
