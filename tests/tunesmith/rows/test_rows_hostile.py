"""Files made to do harm: each ends in a report or one refusal, within memory and time that do not depend on it.

All of them go through the registry's look and the validator in one process of its own, whose peak is what is measured.
"""

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow
_MEMORY_MB = 600
_SECONDS = 20.0
_SCRIPT = """
import json, sys, time
from pathlib import Path
from tunesmith.errors import InvalidData
from tunesmith.rows.files import decompress, tabular
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.report.validation import validate
from tunesmith.spec.training import TrainSpec

spec = TrainSpec.read({"model_name_or_path": "-", "train_file": "-"})
decompress._SURELY_FINE = tabular._SURELY_FINE = 2**25  # smaller bombs show the same, and make a quicker test
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    began, said = time.perf_counter(), []
    for look in (recognise, lambda file: validate(file, spec)):
        try:
            seen = look(path)
        except InvalidData as error:
            assert error.hint and error.problems and error.problems[0].field, path
            said.append(error.message)
        else:
            said += [row.message for row in getattr(seen, "bad", [])]
    found[path.name] = {"seconds": time.perf_counter() - began, "said": said}
# Not `ru_maxrss`: a process has its parent's from before it became itself.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) // 1024
print(json.dumps({"files": found, "peak": peak}))
"""


def hole(path: Path, head: bytes, tail: bytes, size: int = 2**28) -> None:
    """A file with a hole in it, which takes no disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        file.seek(size)
        file.write(tail)


def parquet_bomb(path: Path) -> None:
    column = pa.chunked_array([pa.array(["x" * 2**20])] * 50)
    pq.write_table(pa.table({"text": column}), path, compression="zstd", use_dictionary=False)


HOSTILE: dict[str, tuple[Any, str]] = {
    "long-line.jsonl": (lambda path: hole(path, b'{"a": "', b'"}\n'), "longer than 32 MB"),
    "long-line.txt": (lambda path: hole(path, b"x", b"\n"), "longer than 32 MB"),
    "open-quote.csv": (
        lambda path: path.write_bytes(b'text\n"' + (b"x" * 200 + b"\n") * 2**18),
        "longer than 32 MB",
    ),
    "many-columns.csv": (
        lambda path: path.write_bytes(b",".join(b"c%d" % n for n in range(200_000))),
        "1000 col",
    ),
    "many-names.jsonl": (
        lambda path: path.write_text("{" + ", ".join(f'"n{n}": 1' for n in range(100_000)) + ', "n0": 2}'),
        "stands twice",
    ),
    "other-names.jsonl": (
        lambda path: path.write_text("\n".join(f'{{"n{n}": {n}}}' for n in range(50_000))),
        "",
    ),
    "blanks.json": (lambda path: path.write_bytes(b'[{"a": 1}' + b" " * 2**26 + b"}"), "delimiter"),
    "open-element.json": (
        lambda path: path.write_bytes(b'[{"a": "' + b"x" * 2**26),
        "does not end within 32",
    ),
    "brackets.jsonl": (lambda path: path.write_bytes(b'{"a": ' + b"[" * 10**6 + b"\n"), "too deep"),
    "objects.jsonl": (lambda path: path.write_bytes(b'{"a": ' * 10**5 + b"\n"), "too deep"),
    "digits.jsonl": (lambda path: path.write_bytes(b'{"a": ' + b"9" * 10**6 + b"}\n"), "cannot be read"),
    "exponent.jsonl": (lambda path: path.write_bytes(b'{"a": 1e' + b"9" * 10**6 + b"}\n"), "no JSON number"),
    "nan.jsonl": (lambda path: path.write_bytes(b'{"a": NaN}\r\n{"a": -Infinity}\r\n'), "`NaN`"),
    "marks.jsonl": (
        lambda path: path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n'),
        "Broken JSON",
    ),
    "utf-16.jsonl": (lambda path: path.write_text('{"text": "a"}\n', "utf-16"), "UTF-16"),
    "utf-16.csv": (lambda path: path.write_text("text\na\n", "utf-16"), "UTF-16"),
    "nul.jsonl": (lambda path: path.write_bytes(b'{"text": "a\x00b"}\n{"text": "c\\u0000"}\n'), "u0000"),
    "nul.csv": (lambda path: path.write_bytes(b"text\na\x00b\n"), "u0000"),
    "surrogates.jsonl": (
        lambda path: path.write_bytes(b'{"text": "\\ud83d"}\n{"text": "\xed\xa0\xbd"}\n'),
        "half",
    ),
    "comma.jsonl": (lambda path: path.write_bytes(b'{"text": "a"},\n{"text": "b"},\n'), "Extra data"),
    "bomb.jsonl.gz": (lambda path: path.write_bytes(gzip.compress(bytes(2**22)) * 16), "grows so much"),
    "bomb.jsonl.zst": (
        lambda path: path.write_bytes(pa.Codec("zstd").compress(bytes(2**22), asbytes=True) * 16),
        "grows so much",
    ),
    "rows.jsonl.gz": (
        lambda path: path.write_bytes(gzip.compress((b'{"text": "' + b"a" * 1000 + b'"}\n') * 2**12) * 12),
        "grows so much",
    ),
    "bomb.parquet": (parquet_bomb, "grows so much"),
    "cut.parquet": (lambda path: path.write_bytes(b"PAR1" + bytes(1000) + b"PAR1"), "as Parquet"),
    "loop.jsonl": (lambda path: path.symlink_to(path.name), "cannot be read"),
    "nowhere.jsonl": (lambda path: path.symlink_to("/nowhere/at/all"), "does not exist"),
    "folder.jsonl": (lambda path: path.mkdir(), "is a folder"),
}


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.jsonl", bytes(2**26))


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in HOSTILE.items():
        make(folder / name)
    zip_bomb(folder / "bomb.zip")
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder)], capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "words"), [*((name, words) for name, (_, words) in HOSTILE.items()), ("bomb.zip", "zip")]
)
def test_a_hostile_file_is_told_and_harms_nobody(looked_at: dict[str, Any], name: str, words: str) -> None:
    seen = looked_at["files"][name]
    assert seen["said"], "something is wrong with it"
    assert words in " ".join(seen["said"]), seen["said"]
    assert seen["seconds"] < _SECONDS, seen
    assert all(len(message) < 1000 for message in seen["said"]), "a message is for reading"


def test_none_of_them_fills_the_memory(looked_at: dict[str, Any]) -> None:
    assert looked_at["peak"] < _MEMORY_MB, looked_at["peak"]
