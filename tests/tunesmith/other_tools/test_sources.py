"""How data sets are written: files, names, names of the Hub, weights."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.other_tools.sources import Source, is_plain, read_sources


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("train.jsonl", Source("train.jsonl")),
        ("data/train.json", Source("data/train.json")),
        ("data/train.jsonl.gz", Source("data/train.jsonl.gz")),
        ("./somewhere/else", Source("./somewhere/else")),
        ("/abs/olute", Source("/abs/olute")),
        ("answers@3", Source("answers@3")),
        ("train.jsonl:0.3", Source("train.jsonl", weight=0.3)),
        ("answers@3:2", Source("answers@3", weight=2.0)),
        ("org/name", Source("org/name", is_hub=True)),
        ("org/name:validation", Source("org/name", is_hub=True, split="validation")),
        ("org/name:train[:10%]", Source("org/name", is_hub=True, split="train[:10%]")),
        ("org/name:0.25", Source("org/name", is_hub=True, weight=0.25)),
        ("org/name:test:0.25", Source("org/name", is_hub=True, split="test", weight=0.25)),
        ("hf://org/name", Source("org/name", is_hub=True)),
        ("hf://datasets/org/name@abc:test:1e-1", Source("org/name", True, 0.1, split="test", revision="abc")),
        ("s3://bucket/rows.jsonl", Source("s3://bucket/rows.jsonl")),
        ({"path": "org/name", "split": "test", "weight": 0.5}, Source("org/name", True, 0.5, split="test")),
        ({"path": "a.jsonl", "ratio": 2, "rows": 7}, Source("a.jsonl", weight=2.0, rows=7)),
    ],
)
def test_one_source(given: Any, source: Source) -> None:
    assert read_sources(given) == [source]
    if isinstance(given, str):
        assert read_sources(str(source)) == [source]


def test_what_is_there_is_a_file_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").touch()
    (tmp_path / "rows:0.5").touch()
    assert read_sources(["org/name", "rows:0.5"]) == [Source("org/name"), Source("rows:0.5")]


@pytest.mark.parametrize(
    "given",
    ["", [], [None], 7, {"weight": 1}, {"path": "a", "share": 1}, "hf://name", "a.jsonl:0", {"path": "a", "weight": -1},
     {"path": "a", "weight": "x"}, {"path": "a", "weight": True}, {"path": "a", "rows": 0}, ["a.jsonl:0.5", "b.jsonl"]],
)  # fmt: skip
def test_what_cannot_be_read_is_said(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_sources(given)
    assert caught.value.hint


def test_one_file_or_name_needs_nothing_made_first() -> None:
    assert is_plain(read_sources("a.jsonl"))
    assert not any(
        map(is_plain, map(read_sources, ["org/name", ["a.jsonl", "b.jsonl"], {"path": "a", "rows": 3}]))
    )
