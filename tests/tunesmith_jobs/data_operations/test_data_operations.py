"""Operations on data sets: what comes out of each, that it is the same again, and what is refused."""

import datetime as dt
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_jobs import Ear
from operated import ROWS, numbers, rows_of

from tunesmith.data_step import DataDocument
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.events import DatasetMade
from tunesmith.lifecycle import Reason, State
from tunesmith.outcome import Outcome
from tunesmith.rows.chat.turns import tools_of
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.data import disk_hash_table, duplicates, meter
from tunesmith_jobs.data.operations import run
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do


@pytest.fixture
def another(tmp_path: Path, file: Callable[..., str]) -> Callable[[list[dict[str, Any]]], str]:
    """Writes each list of rows into a file of its own."""
    number = itertools.count()
    return lambda rows: file(rows, f"{next(number)}.jsonl")


@pytest.mark.parametrize(
    ("method", "parameters", "wanted"),
    [
        ("filter", {"condition": "even and n > 12"}, [14, 16, 18]),
        ("select", {"axis": "rows", "indices": [5, 0, 5]}, [5, 0, 5]),
        ("dedup", {"columns": ["even"]}, [0, 1]),
        ("dedup", {}, list(range(20))),
    ],
)
def test_which_rows_are_kept(
    file: Callable[..., str], work: Callable[..., Any], method: str, parameters: Any, wanted: list[int]
) -> None:
    output = work(method, dataset=file(ROWS), **parameters)["data"]
    assert numbers(output) == wanted
    assert output.rows == len(wanted)
    assert output.columns == ["n", "text", "even"]


def test_map_and_select_columns(file: Callable[..., str], work: Callable[..., Any]) -> None:
    template = "### {text}\n{{{n}}}"
    output = work("map", dataset=file(ROWS[:1]), template=template, output_column="t", remove_columns=["n"])[
        "data"
    ]
    assert rows_of(output) == [{"text": "row 0", "even": True, "t": "### row 0\n{0}"}]
    output = work("select", dataset=file(ROWS[:1]), columns=["even", "n"])["data"]
    assert rows_of(output) == [{"even": True, "n": 0}]


def test_concat_both_ways(file: Callable[..., str], work: Callable[..., Any]) -> None:
    one, two = file(ROWS[:2]), file([{"m": 1}, {"m": 2}], "two.jsonl")
    assert [*map(len, rows_of(work("concat", datasets=[one, two])["data"]))] == [3, 3, 1, 1]
    beside = work("concat", datasets=[one, two], direction="horizontal")["data"]
    assert rows_of(beside)[1] == ROWS[1] | {"m": 2}


def test_shuffle_and_split_are_the_seeds(file: Callable[..., str], work: Callable[..., Any]) -> None:
    first, again = (work("shuffle", dataset=file(ROWS), seed=1)["data"] for _ in range(2))
    other = work("shuffle", dataset=file(ROWS), seed=2)["data"]
    assert first.sha256 == again.sha256 != other.sha256
    assert sorted(numbers(other)) == list(range(20)) != numbers(other)
    parts = work("split", dataset=file(ROWS), train=0.7, eval=0.2, test=0.1)
    assert {name: part.rows for name, part in parts.items()} == {"train": 14, "eval": 4, "test": 2}
    assert sorted(n for part in parts.values() for n in numbers(part)) == list(range(20))


def test_mix_keeps_the_weights_or_every_row(file: Callable[..., str], work: Callable[..., Any]) -> None:
    many = file([{"n": 0}] * 3000, "many.jsonl")
    few = file([{"n": 1}] * 500, "few.jsonl")
    found = numbers(work("mix", datasets=[many, few], weights=[3, 1])["data"])
    assert 0.2 < sum(found) / len(found) < 0.3
    whole = work("mix", datasets=[many, few], weights=[3, 1], stop="all_exhausted")["data"]
    assert whole.rows == 3500


def test_a_mix_counts_what_each_gave_and_heeds_limits(
    another: Callable[..., str], work: Callable[..., Any]
) -> None:
    many, few = another([{"n": n} for n in range(50)]), another([{"n": n} for n in range(100, 110)])
    drawn = work("mix", datasets=[many, few], weights=[3, 1])["data"]
    assert sum(drawn.parts) == drawn.rows
    assert [sum(n < 100 for n in numbers(drawn)), sum(n >= 100 for n in numbers(drawn))] == drawn.parts
    whole = work("mix", datasets=[many, few, many], limits=[5, 0, 7], stop="all_exhausted")["data"]
    assert whole.parts == [5, 10, 7]
    assert sorted(numbers(whole)) == sorted([*range(5), *range(100, 110), *range(7)])


@pytest.mark.parametrize("weights", [[0.7, 0.3], [7, 3], [1, 1], [0.05, 0.95], [1, 2, 3]])
@pytest.mark.parametrize("rows", [30, 400])
def test_a_mix_keeps_its_weights_to_a_few_rows(
    another: Callable[..., str], work: Callable[..., Any], weights: list[float], rows: int
) -> None:
    """Also of small data sets, and whichever seed: chance alone would be off by a tenth of 30 rows."""
    files = [another([{"n": n}] * rows) for n in range(len(weights))]
    for seed in range(4):
        drawn = work("mix", datasets=files, weights=weights, seed=seed)["data"]
        wanted = [weight / sum(weights) * drawn.rows for weight in weights]
        assert all(abs(part - want) <= 8 for part, want in zip(drawn.parts, wanted, strict=True)), drawn.parts
    same = [work("mix", datasets=files, weights=weights, seed=9)["data"].sha256 for _ in range(2)]
    assert same[0] == same[1] != drawn.sha256


TALK = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
ALPACA = {"instruction": "a", "input": "", "output": "b"}
PAIR, ASKED = {"prompt": "a", "response": "b"}, {"question": "a", "answer": "b", "system": "s"}


CALLED = {
    "prompt": "How warm?",
    "response": [
        {"role": "assistant", "content": None, "reasoning_content": "Look.",
         "tool_calls": [{"name": "weather", "arguments": {"city": "Kyiv"}}]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "Three."},
    ],
    "tools": [{"name": "weather", "parameters": {}}],
}  # fmt: skip
CONTENTS = {
    "contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
}
ITEMS = {"items": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]}


@pytest.mark.parametrize(
    "rows",
    [
        [TALK, PAIR], [PAIR, SHAREGPT], [ALPACA, ASKED], [PAIR, ASKED], [TALK, ALPACA, SHAREGPT, PAIR, ASKED],
        [CALLED, TALK], [PAIR, CONTENTS], [CONTENTS, ITEMS], [ITEMS, ITEMS | {"id": 1}],
    ],
)  # fmt: skip
def test_conversations_of_other_shapes_can_be_mixed(
    another: Callable[..., str], work: Callable[..., Any], rows: list[dict[str, Any]]
) -> None:
    """Each row trains what it trains alone: the whole file has one shape, whichever row comes first."""
    mixed = work("mix", datasets=[another([row] * 3) for row in rows], stop="all_exhausted")["data"]
    spec = TrainSpec(model_name_or_path="-", train_file="-")
    shape = shape_of(RowFile(mixed.path), spec)
    found = [shape.read(row) for row in rows_of(mixed)]
    alone = [shape_of(RowFile(another([row])), spec).read(row) for row in rows for _ in range(3)]
    assert sorted(found) == sorted(alone)
    assert sorted(map(tools_of, found)) == sorted(map(tools_of, alone))


def test_rows_of_one_shape_stay_as_they_are(another: Callable[..., str], work: Callable[..., Any]) -> None:
    odd = {"prompt": 7, "response": "b"}
    mixed = work("mix", datasets=[another([PAIR, odd]), another([PAIR | {"id": 1}])], stop="all_exhausted")[
        "data"
    ]
    assert sorted(map(str, rows_of(mixed))) == sorted(map(str, [PAIR, odd, PAIR | {"id": 1}]))
    kept = work("mix", datasets=[another([odd, PAIR]), another([TALK])], stop="all_exhausted")["data"]
    assert odd in rows_of(kept)  # the training says what is wrong with it


def test_texts_and_conversations_are_not_mixed(another: Callable[..., str], work: Callable[..., Any]) -> None:
    with pytest.raises(InvalidData, match="plain texts"):
        work("mix", datasets=[another([TALK]), another([{"text": "a"}])])
    texts = work(
        "mix", datasets=[another([{"text": "a"}]), another([{"text": "b", "n": 1}])], stop="all_exhausted"
    )
    assert texts["data"].rows == 2


def test_near_duplicates_go_and_others_stay(file: Callable[..., str], work: Callable[..., Any]) -> None:
    long = "The quick brown fox jumps over the lazy dog while the cat looks on and says nothing at all. " * 3
    rows = [
        {"text": long},
        {"text": long.upper()},
        {"text": long.replace("cat", "cow", 1)},
        {"text": "Something else entirely, about ships and the sea and the long way home in winter." * 2},
        {"text": "ab"},
        {"text": "cd"},
    ]
    output = work("dedup", dataset=file(rows), near=True)["data"]
    assert [row["text"][:4] for row in rows_of(output)] == ["The ", "Some", "ab", "cd"]


def test_what_is_kept_of_rows_outgrows_memory_and_its_first_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MAX_IN_MEMORY", 10)
    monkeypatch.setattr(disk_hash_table, "_FIRST", 16)
    seen = duplicates.Seen(tmp_path / "a")
    assert all(seen.is_new({"n": n}) for n in range(500))
    assert not any(seen.is_new({"n": n}) for n in range(500))
    table = disk_hash_table.Slots(tmp_path / "b", first=16)
    keys = np.random.default_rng(1).integers(0, 2**63, (300, 3), dtype=np.uint64)
    for number, three in enumerate(keys):
        assert table.get(three).tolist() == [-1, -1, -1]
        table.put(three, number)
    assert [table.get(three).tolist() for three in keys] == [[number] * 3 for number in range(300)]
    table.put(keys[7], 1000)
    assert table.get(keys[7]).tolist() == [1000] * 3
    words = np.random.default_rng(2).integers(97, 123, (1500, 60)).astype(np.uint8)
    near = duplicates.SeenNearly(0.8, tmp_path / "c")
    texts = [bytes(row).decode() for row in words]
    assert all(near.is_new({"text": text}) for text in texts), "letters at random have no runs in common"
    assert not any(near.is_new({"text": text.upper()}) for text in texts[::10])


@pytest.mark.parametrize(
    ("method", "parameters", "words"),
    [
        ("filter", {"condition": "nn > 1"}, "in.jsonl:1: The row has no column `nn`"),
        ("filter", {"condition": "text > 1"}, "in.jsonl:1: "),
        ("filter", {"condition": "n > 99"}, "No row is left"),
        ("map", {"template": "{txt}"}, "in.jsonl:1: The template names `{txt}`"),
        ("select", {"columns": ["nope"]}, "no column `nope`"),
        ("select", {"axis": "rows", "indices": [99]}, "no row 99"),
        ("split", {"train": 0.5, "eval": 0.4}, "add up to 0.9"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_place(
    file: Callable[..., str],
    work: Callable[..., Any],
    tmp_path: Path,
    method: str,
    parameters: Any,
    words: str,
) -> None:
    with pytest.raises(InvalidInput) as caught:
        work(method, dataset=file(ROWS), **parameters)
    assert words in caught.value.message
    assert not list(tmp_path.glob("out*")), "nothing is left of what failed"


def test_sides_that_do_not_match_are_refused(file: Callable[..., str], work: Callable[..., Any]) -> None:
    one, two = file(ROWS[:3]), file([{"m": 1}], "two.jsonl")
    with pytest.raises(InvalidInput, match="equally many"):
        work("concat", datasets=[one, two], direction="horizontal")
    with pytest.raises(InvalidInput, match="has the column `even`"):
        work("concat", datasets=[one, one], direction="horizontal")
    with pytest.raises(InvalidInput, match="is csv"):
        work("load", provider="local", loader="json", data_files="/x.csv")


def test_the_job_has_a_last_word_whatever_comes(
    tmp_path: Path, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    def job(operation: str, **parameters: Any) -> tuple[Outcome, list[Any]]:
        document = DataDocument(
            task_id="task-1",
            attempt=1,
            kind="dataset",
            name="t",
            spec={},
            api_url="http://127.0.0.1:1",
            token="",
            work_dir=str(tmp_path / "work"),
            submitted_at=dt.datetime.now(dt.UTC),
            operation=operation,
            parameters=parameters,
            environment=["HF_TOKEN"],
            rows_dir=str(tmp_path / "o"),
            store_uri=str(tmp_path / "store"),
            file_name="kept",
        )
        assert "hf_secret" not in document.model_dump_json()
        ear = Ear()
        finished = do(Attempt.of(document), ear)
        assert "hf_secret" not in f"{finished} {ear.heard}"
        return finished, [payload for payload in ear.heard if isinstance(payload, DatasetMade)]

    finished, made = job("filter", dataset=file(ROWS), condition="n == 3")
    assert (finished.outcome, finished.message.split(" in ")[0]) == (State.COMPLETED, "1 rows")
    assert (made[0].rows, made[0].columns, made[0].rows_hold) == (1, ["n", "text", "even"], "text")
    assert Path(made[0].path) == tmp_path / "store" / f"{made[0].sha256}-kept.jsonl" / "kept.jsonl"
    assert json.loads(Path(made[0].path).read_text())["n"] == 3
    finished, made = job("filter", dataset=file(ROWS), condition="m == 3")
    assert (finished.reason, made) == (Reason.BAD_DATA, [])
    assert finished.message.endswith("It has `n`, `text`, `even`.")
    finished, _ = job("load", path="../x", token="${env.HF_TOKEN}")
    assert (finished.reason, "no Hub id" in finished.message) == (Reason.BAD_PARAMETERS, True)
    finished, _ = job("load", path="a/b", token="${env.AWS_SECRET}")
    assert (finished.reason, "may not be read" in finished.message) == (Reason.BAD_PARAMETERS, True)
    parts, made = job("split", dataset=file(ROWS), train=0.8, eval=0.2)
    assert parts.message.startswith("train: 16 rows, eval: 4 rows")
    assert [one.file_name for one in made] == ["kept-train.jsonl", "kept-eval.jsonl"]
    shutil.rmtree(tmp_path / "o")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "theirs").touch()
    finished, made = job("filter", dataset=file(ROWS), condition="n == 3")
    assert (finished.reason, made) == (Reason.BAD_PARAMETERS, [])
    assert finished.message.endswith("or give another folder."), "what to do is said too"


def test_the_meter_tells_how_far_it_is_and_a_stop_leaves_nothing(
    tmp_path: Path, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "_SECONDS", 0.0)
    source = file(ROWS * 20)
    told: list[tuple[int, int, float | None]] = []
    spec = read_operation("split", {"dataset": source, "train": 0.5, "eval": 0.5})
    run(spec, tmp_path / "out", meter.Meter(lambda *seen: told.append(seen)))
    assert [done for done, _, _ in told] == list(range(64, 801, 64)), "each row goes through twice"
    assert all(total == 800 and left is not None for _, total, left in told)

    class Stop(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(read_operation("shuffle", {"dataset": source}), tmp_path / "two", meter.Meter(stop))
    assert not list(tmp_path.glob("two*"))
