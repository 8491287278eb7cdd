"""Sample files that are refused: with place and cure, and whole."""

from pathlib import Path
from typing import Any

import pytest
from sample_files import PAIR, written

from tunesmith.errors import InvalidData
from tunesmith.evaluation import sample_file
from tunesmith.evaluation.samples import inspect_samples, read_samples

REFUSED: dict[str, tuple[Any, str, str]] = {
    "empty": ("", "samples.json", "is empty"),
    "no sample": ({"train": [], "validation": []}, "samples.json", "holds no sample"),
    "unknown split": ({"train": [PAIR], "valid": [PAIR]}, "samples.json", "The split `valid` is unknown"),
    "unknown split of a row": ([{**PAIR, "split": "tset"}], "rows.jsonl", "The split `tset` is unknown"),
    "a split of another type": ({"validation": PAIR}, "samples.json", "`validation` is an object, not a list"),
    "an entry of another type": ({"validation": [PAIR, "Hi"]}, "samples.json", "The row is a string"),
    "without completion": ({"validation": [PAIR, {"prompt": "x"}]}, "samples.json", "`completion` is missing"),
    "none has a completion": ({"validation": [{"prompt": "x"}]}, "samples.json", "expects no answer"),
    "nothing known": ([{"a": "x", "b": "y"}], "rows.jsonl", "no question with its answer"),
    "empty prompt": ({"validation": [{**PAIR, "prompt": " "}]}, "samples.json", "`prompt` is empty"),
    "empty completion": ({"validation": [{**PAIR, "completion": ""}]}, "samples.json", "`completion` is empty"),
    "a prompt of another type": ({"validation": [{**PAIR, "prompt": 3}]}, "samples.json", "is a number, not a string"),
    "keywords of another type": ({"validation": [{**PAIR, "keywords": 3}]}, "samples.json", "not a list of texts"),
    "an empty check": ({"validation": [{**PAIR, "checks": [""]}]}, "samples.json", "holds an empty text"),
    "an id that is a list": ({"validation": [{**PAIR, "id": [1]}]}, "samples.json", "`id` is a list"),
    "no answer in a talk": (
        {"validation": [{"messages": [{"role": "user", "content": "Hi"}]}]}, "samples.json", "role `assistant`",
    ),
    "no question in a talk": (
        {"validation": [{"messages": [{"role": "assistant", "content": "Hi"}]}]}, "samples.json", "question",
    ),
    "a tool": (
        {"validation": [{"messages": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "1"}, {"role": "assistant", "content": "Done"}]}]},
        "samples.json", "Tools are offered or called",
    ),
    "cut": ('{"train": [{"prompt": "a", "completion": "b"},\n', "samples.json", "Broken JSON"),
    "broken inside": (
        '{"validation": [{"prompt": "a", "completion": "b"},\n{"prompt": "a" "completion": "b"}]}',
        "samples.json", "Broken JSON: Expecting ',' delimiter at column 16",
    ),
    "a name twice": ('{"validation": [{"prompt": "a", "prompt": "b"}]}', "samples.json", "stands twice"),
    "a null character": ('{"validation": [{"prompt": "a\\u0000", "completion": "b"}]}', "samples.json", "u0000"),
    "preferences": ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "rows.jsonl", "preference pair"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_and_scored_is_refused_with_place_and_cure(tmp_path: Path, case: str) -> None:
    content, name, words = REFUSED[case]
    path = written(tmp_path, content, name)
    with pytest.raises(InvalidData) as caught:
        read_samples(path)
    problem = caught.value.problems[0]
    assert words in problem.message
    assert problem.field is not None
    assert problem.field.startswith(name)
    assert problem.hint or caught.value.hint
    if "valid" in case:
        assert problem.hint == "Did you mean `validation`?"


def test_a_broken_file_never_gives_half_a_set(tmp_path: Path) -> None:
    rows = [PAIR, {"prompt": "x"}, {"prompt": "", "completion": "y"}, {"prompt": "z"}]
    path = written(tmp_path, {"validation": rows})
    with pytest.raises(InvalidData, match="samples that cannot be used: 3") as caught:
        read_samples(path)
    assert [problem.field for problem in caught.value.problems] == [
        "samples.json:validation row 2",
        "samples.json:validation row 3",
    ]
    found = inspect_samples(path)  # for a look alone
    assert (found.bad, len(found.samples)) == (3, 1)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": str(number), "completion": "b"} for number in range(12)]
    for content, name in (({"validation": rows}, "a.json"), (rows, "a.jsonl")):
        path = written(tmp_path, content, name)
        monkeypatch.setattr(sample_file, "MAX_SAMPLES", 11)
        with pytest.raises(InvalidData, match="more than 11 samples") as caught:
            read_samples(path)
        assert "data run" in str(caught.value.problems[0].hint)
        monkeypatch.setattr(sample_file, "MAX_SAMPLES", 12)
        assert len(read_samples(path).samples) == 12
        monkeypatch.setattr(sample_file, "MAX_BYTES", 100)
        with pytest.raises(InvalidData, match="100 at most"):
            read_samples(path)
        monkeypatch.undo()


def test_a_check_must_be_one(tmp_path: Path) -> None:
    path = written(tmp_path, {"validation": [{**PAIR, "checks": ["bullet=3"]}]})
    with pytest.raises(InvalidData, match="no check `bullet=3`") as caught:
        read_samples(path)
    assert "Did you mean `bullets`?" in str(caught.value.problems[0].hint)
    path = written(tmp_path, {"validation": [{**PAIR, "checks": ["json", "house_style"]}]})
    assert "`house_style`" in read_samples(path).notes[0].en
    assert not read_samples(path, scorers=["house_style"]).notes
    with pytest.raises(InvalidData, match="no check `house_style`"):
        read_samples(path, scorers=[])
