"""Rows as they come in: local files of each format, the Hub, data sets that `datasets` saved."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_hub import dataset_hub, point_at
from operated import ROWS, numbers, rows_of

from tunesmith.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"text": "x", "label": 1}, {"text": "y", "label": 2}]'),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": 2}\n'),
        ("a.csv", "text,label\nx,1\ny,2\n"),
        ("a.txt", "x\ny\n"),
    ],
)
def test_local_files_of_each_format(tmp_path: Path, work: Callable[..., Any], name: str, text: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_text(text)
    for given in ({"data_files": str(folder / name)}, {"data_dir": str(folder)}, {"path": str(folder)}):
        output = work("load", provider="local", **given)["data"]
        assert [row["text"] for row in rows_of(output)] == ["x", "y"]


def test_parquet_and_several_files_and_a_fraction(tmp_path: Path, work: Callable[..., Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(2):
        pq.write_table(pa.Table.from_pylist(ROWS[part * 10 :][:10]), tmp_path / f"{part}.parquet")
    files = [str(tmp_path / f"{part}.parquet") for part in range(2)]
    loaded = work("load", provider="local", loader="parquet", data_files=files)["data"]
    assert numbers(loaded) == list(range(20))
    tenth = work("load", provider="local", data_files=files, fraction=0.1)["data"]
    assert tenth.rows == 2
    drawn = work("load", provider="local", data_files=files, fraction=0.5, shuffle=True)["data"]
    assert (drawn.rows, numbers(drawn) == sorted(numbers(drawn))) == (10, False)


class TestTheHub:
    """Through `datasets`, on a mirror of the Hub's layout in a local folder."""

    @pytest.fixture
    def mirror(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
        folder = tmp_path / "mirror"
        folder.mkdir()
        lines = [json.dumps({"instruction": f"i{n}", "input": "", "output": f"o{n}"}) for n in range(10)]
        (folder / "train.jsonl").write_text("\n".join(lines))
        (folder / "test.jsonl").write_text(lines[0])
        return folder

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_mirror_is_loaded(
        self, mirror: Path, tmp_path: Path, work: Callable[..., Any], streaming: bool
    ) -> None:
        where = {"path": str(mirror), "cache_dir": str(tmp_path / "cache"), "streaming": streaming}
        output = work("load", **where, fraction=0.5, shuffle=True, seed=3)["data"]
        assert (output.rows, output.columns) == (5, ["instruction", "input", "output"])
        assert work("load", **where, split="test")["data"].rows == 1

    def test_an_unknown_split_names_those_there_are(
        self, mirror: Path, tmp_path: Path, work: Callable[..., Any]
    ) -> None:
        with pytest.raises(InvalidInput, match="train"):
            work("load", path=str(mirror), cache_dir=str(tmp_path / "cache"), split="nope")

    @pytest.mark.parametrize("name", ["mirror.py", "data/train.pkl"])
    def test_code_and_pickles_are_refused_unread(
        self, mirror: Path, tmp_path: Path, work: Callable[..., Any], name: str
    ) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "sprung"),)

        (mirror / name).parent.mkdir(exist_ok=True)
        (mirror / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(InvalidInput, match="code or a pickle"):
            work("load", path=str(mirror))
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("streaming", [False, True])
    def test_rows_come_over_the_wire(
        self, tmp_path: Path, work: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, streaming: bool
    ) -> None:
        lines = [json.dumps({"prompt": f"p{n}", "response": "r"}).encode() + b"\n" for n in range(6)]
        files = {"train.jsonl": b"".join(lines), "validation.jsonl": lines[0]}
        with dataset_hub(files, tmp_path / "cache", monkeypatch) as hub:
            whole = work("load", path="org/talks", streaming=streaming)["data"]
            assert (whole.rows, whole.columns) == (6, ["prompt", "response"])
            held = work("load", path="org/talks", split="validation", streaming=streaming)["data"]
            assert rows_of(held) == [{"prompt": "p0", "response": "r"}]
            assert work("load", path="org/talks", split="train[:50%]")["data"].rows == 3
            with pytest.raises(InvalidInput, match="could not be loaded"):
                work("load", path="org/another")
        assert any("/resolve/" in path for path in hub.asked)

    def test_a_hub_that_does_not_answer_is_said(
        self, tmp_path: Path, work: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point_at("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
        with pytest.raises(InvalidInput, match=r"127\.0\.0\.1:9` does not answer") as caught:
            work("load", path="org/talks")
        assert "reaches the Hub" in str(caught.value.hint)

    @pytest.mark.parametrize("path", ["../../etc", "a/b/c", "http://x/y", "owner/../name"])
    def test_what_is_no_hub_id_is_refused(self, work: Callable[..., Any], path: str) -> None:
        with pytest.raises(InvalidInput, match="no Hub id"):
            work("load", path=path)


class TestASavedDataset:
    """A folder that `save_to_disk` left: Arrow files and their descriptions."""

    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        folder = tmp_path / "saved"
        self.write(folder / "train", ROWS[:15])
        self.write(folder / "test", ROWS[15:])
        (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        return folder

    def write(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa

        folder.mkdir(parents=True)
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
            stream.write_table(table)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_indices_data_files": None}
        (folder / "state.json").write_text(json.dumps(state))

    def test_its_rows_are_read(self, saved: Path, work: Callable[..., Any]) -> None:
        assert numbers(work("load", provider="local", path=str(saved))["data"]) == list(range(15))
        test = work("load", provider="local", path=str(saved), split="test")["data"]
        assert numbers(test) == list(range(15, 20))
        assert rows_of(test)[0] == ROWS[15]
        with pytest.raises(InvalidInput, match="no split `eval`"):
            work("load", provider="local", path=str(saved), split="eval")

    @pytest.mark.parametrize(
        "name", ["../test/data-00000-of-00001.arrow", "/etc/passwd", "state.json", "x.arrow"]
    )
    def test_it_leads_nowhere_else(self, saved: Path, work: Callable[..., Any], name: str) -> None:
        (saved / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(InvalidInput, match="no Arrow file"):
            work("load", provider="local", path=str(saved))

    def test_a_broken_one_is_said(self, saved: Path, work: Callable[..., Any]) -> None:
        file = saved / "train" / "data-00000-of-00001.arrow"
        data = bytearray(file.read_bytes())
        for place in range(40, len(data), 7):
            data[place] ^= 0x5A
        file.write_bytes(data)
        with pytest.raises(InvalidInput, match="cannot be read as Arrow"):
            work("load", provider="local", path=str(saved))
