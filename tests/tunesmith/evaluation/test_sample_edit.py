"""Samples added to a file and taken out: what is written reads back as the same samples, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidData
from tunesmith.evaluation import sample_edit
from tunesmith.evaluation.sample_edit import Edited, edited, file_of
from tunesmith.evaluation.samples import default_samples, inspect_samples, read_samples

PAIR = {"prompt": "What is 2 + 2?", "completion": "4"}
OTHER = {"prompt": "What is 3 + 3?", "completion": "6"}
TALK = {
    "messages": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Three."},
    ]
}


def kept(folder: Path, edit: Edited, name: str = "next.jsonl") -> Path:
    path = folder / name
    path.write_text(edit.text)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_new_file_and_its_next_versions(tmp_path: Path) -> None:
    first = edited(None, [PAIR, {**OTHER, "split": "train"}])
    path = kept(tmp_path, first)
    assert lines(path) == [{"split": "validation", **PAIR}, {"split": "train", **OTHER}]
    assert (first.counts, len(first.added)) == ({"train": 1, "validation": 1}, 2)
    found = read_samples(path).samples
    assert [sample.id for sample in found] == first.added

    again = edited(path, [PAIR])
    assert (again.added, again.removed, again.text) == ([], [], first.text)
    moved = edited(path, [{**PAIR, "split": "train"}])
    assert (moved.added, moved.counts) == ([found[0].id], {"train": 2, "validation": 0})
    replaced = edited(path, [{**PAIR, "completion": "four"}], [found[0].id, "0" * 16])
    assert (replaced.removed, replaced.missing) == ([found[0].id], ["0" * 16])
    assert [row["completion"] for row in lines(kept(tmp_path, replaced))] == ["6", "four"]


def test_everything_that_a_sample_says_is_kept(tmp_path: Path) -> None:
    full = {
        **PAIR, "system": "Be brief.", "keywords": ["4"], "checks": ["words<=1"], "label": "4", "id": "q-7",
    }  # fmt: skip
    path = kept(tmp_path, edited(None, [full, {**OTHER, "keywords": []}]))
    [one, two] = read_samples(path).samples
    assert (one.name, one.keywords, one.checks, one.label, len(one.turns)) == (
        "q-7",
        ("4",),
        ("words<=1",),
        "4",
        2,
    )
    # Nothing to name is another sample than what the answer names by itself.
    assert two.id != read_samples(kept(tmp_path, edited(None, [OTHER]), "b.jsonl")).samples[0].id


def test_our_own_samples_read_back_as_they_are(tmp_path: Path) -> None:
    own = default_samples().samples
    rows = [{"split": split, **row} for split, found in file_of(own).items() for row in found]
    back = read_samples(kept(tmp_path, edited(None, rows)))
    assert {(one.id, one.split) for one in back.samples} == {(one.id, one.split) for one in own}
    # They hold conversations: then all of them are written as such, for any other reader of rows.
    assert all("messages" in row for row in lines(tmp_path / "next.jsonl"))


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "answer": "She.", "source": "a book"},
        {"instruction": "Add.", "input": "2 and 2", "output": "4", "source": "a book"},
        {**TALK, "source": "a book"},
        {"text": "It broke.", "label": "bad", "source": "a book"},
        {"prompt": '[{"role": "user", "content": "Hi"}]', "completion": "Hello", "source": "a book"},
    ],
)
def test_any_file_of_rows_may_be_edited_and_keeps_its_other_columns(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    [before] = read_samples(path).samples
    edit = edited(path, [PAIR])
    found = kept(tmp_path, edit)
    assert [one.id for one in read_samples(found).samples] == [before.id, *edit.added]
    assert lines(found)[0]["source"] == "a book"


def test_what_looks_like_turns_is_written_as_what_it_is(tmp_path: Path) -> None:
    """A question that is itself JSON of turns would be read as a conversation where it stands in a prompt."""
    asks = '[{"role": "user", "content": "Hi"}]'
    talk = {"messages": [{"role": "user", "content": asks}, {"role": "assistant", "content": "Turns."}]}
    edit = edited(None, [talk])
    [found] = read_samples(kept(tmp_path, edit)).samples
    assert (found.id, found.turns[0].content) == (edit.added[0], asks)


def test_what_would_not_read_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({**PAIR, "label": "good"}) + "\n" + json.dumps({**OTHER, "label": "odd"}) + "\n"
    )
    ids = [one.id for one in read_samples(path).samples]
    # Alone, `good` would be a verdict on the answer, and no class any more.
    with pytest.raises(InvalidData, match="would read otherwise"):
        edited(path, remove=[ids[1]])
    assert edited(path, [{"prompt": "3?", "completion": "x", "label": "even"}]).counts["validation"] == 3


@pytest.mark.parametrize(
    ("add", "words"),
    [
        ([PAIR, {"prompt": "x"}], "add.2: `completion` is missing"),
        ([{**PAIR, "split": "tests"}], "add.1: The split `tests` is unknown"),
        ([{**PAIR, "checks": ["bullet=3"]}], "add.1: There is no check"),
        ([{**PAIR, "prompt": "\x00"}], "add.1: The row holds the character"),
    ],
)
def test_one_bad_sample_adds_none(tmp_path: Path, add: list[dict[str, Any]], words: str) -> None:
    path = kept(tmp_path, edited(None, [OTHER]))
    with pytest.raises(InvalidData) as caught:
        edited(path, add)
    assert caught.value.message.startswith(words)


def test_an_edit_leaves_a_file_that_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path, edited(None, [PAIR, OTHER]))
    ids = [one.id for one in read_samples(path).samples]
    with pytest.raises(InvalidData, match="No sample would be left"):
        edited(path, remove=ids)
    monkeypatch.setattr(sample_edit, "MAX_SAMPLES", 2)
    with pytest.raises(InvalidData, match="more than 2 samples"):
        edited(path, [{"prompt": "x", "completion": "y"}])
    monkeypatch.undo()
    monkeypatch.setattr(sample_edit, "MAX_BYTES", 100)
    with pytest.raises(InvalidData, match="more than 100 bytes"):
        edited(path, [{"prompt": "x", "completion": "y"}])
    path.write_text(path.read_text() + '{"prompt": "x"}\n')
    assert inspect_samples(path).bad == 1
    with pytest.raises(InvalidData, match=r"next.jsonl:3: `completion` is missing"):
        edited(path, [PAIR])
