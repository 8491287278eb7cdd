"""Encoded files: the same by any number of processes, kept on disk, found again, fixed, bounded; bad rows left out."""

import fcntl
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_run as tr

from tunesmith.errors import InvalidData
from tunesmith.lifecycle import Reason, State
from tunesmith.rows.bad_rows import BadRows

GOOD = {
    "messages": [{"role": "user", "content": "Frage?"}, {"role": "assistant", "content": "Eine Antwort 🎉"}]
}
BAD = '{"messages": [{"role": "user", "content": "No answer"}]}'
BROKEN = '{"messages": ['


def lines(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def content(rows: Any) -> list[tuple[int, list[int], list[int]]]:
    return [
        (int(number), row.input_ids.tolist(), row.labels.tolist())
        for number, row in zip(rows.numbers, (rows[i] for i in range(len(rows))), strict=True)
    ]


def silent(rows: int, of: int | None) -> None:
    pass


def loaded(folder: Path, source: Any, **more: Any) -> Any:
    from tunesmith_jobs.batches.token_cache import TokenCache

    return TokenCache(folder, **more).load(source, silent)


@pytest.mark.parametrize("samples", [0, 700])
def test_any_number_of_processes_gives_the_same(tmp_path: Path, tiny_model: Path, samples: int) -> None:
    from tunesmith_jobs.batches.tokenize import tokenise

    file = tr.write_rows(tmp_path / "rows.jsonl", 900)
    file.write_text(file.read_text().replace('"assistant"', '"user"', 3))
    found = []
    for processes in (1, 2):
        source = tr.source(file, tiny_model, allowed_bad_percent=5, max_samples=samples)
        bad, blocks = BadRows(source.rows.place, 5), []
        assert tokenise(source, bad, blocks.append, processes) == 900
        flat = [
            np.concatenate([getattr(block.flat, name) for block in blocks]) for name in ("ids", "trained")
        ]
        numbers = [number for block in blocks for number in block.numbers]
        found.append((*(part.tolist() for part in flat), numbers, [one.field for one in bad.first]))
    assert found[0] == found[1]
    assert len(found[0][2]) == (samples or 897)


def test_a_process_that_fails_is_done_without(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.batches import tokenize

    monkeypatch.setattr(tokenize.sys, "executable", shutil.which("false"))
    source = tr.source(tr.write_rows(tmp_path / "rows.jsonl", 300), tiny_model)
    blocks: list[Any] = []
    assert tokenize.tokenise(source, BadRows(source.rows.place), blocks.append, 2) == 300
    assert sum(len(block.numbers) for block in blocks) == 300


@pytest.mark.parametrize(
    ("row", "spec"),
    [
        (GOOD, {}),
        ({"text": "A document of some words."}, {"training_type": "pretrain"}),
        ({"text": "good", "label": "yes"}, {"training_type": "classification"}),
    ],
)
def test_what_is_kept_is_what_was_encoded(
    tmp_path: Path, tiny_model: Path, row: dict[str, Any], spec: dict[str, Any]
) -> None:
    from tunesmith_jobs.batches.encoded import load_rows

    source = tr.source(lines(tmp_path, row, row), tiny_model, **spec)
    first, again = (loaded(tmp_path / "tokens", source) for _ in range(2))
    assert (first.use, again.use) == ("filled", "used")
    fresh = load_rows(source)
    for one in (first.loaded, again.loaded):
        assert content(one.rows) == content(fresh.rows)
        assert one[1:] == fresh[1:]
        assert (one.rows.tokens, one.rows.supervised) == (fresh.rows.tokens, fresh.rows.supervised)


def test_all_that_changes_the_tokens_makes_another_entry(tmp_path: Path, tiny_model: Path) -> None:
    tokens, file = tmp_path / "tokens", lines(tmp_path, GOOD, GOOD)
    model = shutil.copytree(tiny_model, tmp_path / "model")
    assert loaded(tokens, tr.source(file, model)).use == "filled"
    for change in (
        {"max_length": 40},
        {"assistant_only_loss": False},
        {"max_samples": 1},
        {"chat_template": "chatml"},
    ):
        assert loaded(tokens, tr.source(file, model, **change)).use == "filled", change
    assert loaded(tokens, tr.source(file, model, learning_rate=1e-5, packing=True)).use == "used"
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    assert loaded(tokens, tr.source(file, model)).use == "filled"
    file.write_text(file.read_text() + json.dumps(GOOD) + "\n")
    assert len(loaded(tokens, tr.source(file, model)).loaded.rows) == 3


@pytest.mark.parametrize("how", ["changed", "short", "no head", "broken head"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, tiny_model: Path, how: str) -> None:
    source = tr.source(lines(tmp_path, GOOD, GOOD), tiny_model)
    first = content(loaded(tmp_path / "tokens", source).loaded.rows)
    ids = next((tmp_path / "tokens").glob("*/ids.bin"))
    head = ids.with_name("entry.json")
    data = ids.read_bytes()
    match how:
        case "changed":
            ids.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "short":
            ids.write_bytes(data[:-4])
        case "no head":
            head.unlink()
        case _:
            head.write_text("{}")
    again = loaded(tmp_path / "tokens", source)
    assert again.use == "repaired"
    assert content(again.loaded.rows) == first
    assert loaded(tmp_path / "tokens", source).use == "used"


def test_a_full_cache_forgets_what_was_used_longest_ago(tmp_path: Path, tiny_model: Path) -> None:
    tokens = tmp_path / "tokens"
    sources = [
        tr.source(lines(tmp_path, *[GOOD] * (20 - i), name=f"{i}.jsonl"), tiny_model) for i in range(3)
    ]
    kept = [loaded(tokens, source, limit_bytes=10**9).loaded for source in sources[:2]]
    size = sum(file.stat().st_size for file in tokens.glob("*/*"))
    assert loaded(tokens, sources[0], limit_bytes=size).use == "used"
    loaded(tokens, sources[2], limit_bytes=size)
    assert [loaded(tokens, source).use for source in (sources[0], sources[2])] == ["used", "used"]
    assert content(kept[1].rows), "who reads an entry keeps it"
    assert loaded(tokens, sources[1]).use == "filled"


def test_two_tasks_do_not_encode_the_same_file_twice(tmp_path: Path, tiny_model: Path) -> None:
    from tunesmith_jobs.batches.token_cache import TokenCache

    tokens = tmp_path / "tokens"
    source = tr.source(lines(tmp_path, GOOD), tiny_model)
    loaded(tokens, source)
    entry = next(folder for folder in tokens.iterdir() if folder.is_dir())
    aside = entry.rename(tmp_path / "aside")
    waited = threading.Event()
    uses: list[str] = []
    with entry.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(
            target=lambda: uses.append(TokenCache(tokens).load(source, lambda rows, of: waited.set()).use)
        )
        other.start()
        assert waited.wait(30)
        aside.rename(entry)  # the first task is done
    other.join(30)
    assert uses == ["used"]


def test_a_stop_ends_the_encoding_and_leaves_nothing(tmp_path: Path, tiny_model: Path) -> None:
    from tunesmith_jobs.batches.token_cache import TokenCache

    class _Stop(Exception):
        pass

    def stop(rows: int, of: int | None) -> None:
        assert (rows, of) == (256, 300)
        raise _Stop

    file = tr.write_rows(tmp_path / "rows.jsonl", 300)
    with pytest.raises(_Stop):
        TokenCache(tmp_path / "tokens").load(tr.source(file, tiny_model), stop)
    assert not [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_passed_by(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.batches import token_cache

    (tmp_path / "file").write_text("")
    source = tr.source(lines(tmp_path, GOOD), tiny_model)
    assert loaded(tmp_path / "file", source).use == "off"
    monkeypatch.setenv(token_cache.FOLDER_VARIABLE, "")
    assert token_cache.TokenCache.at(tmp_path / "tokens").load(source, silent).use == "off"
    monkeypatch.setenv(token_cache.FOLDER_VARIABLE, str(tmp_path / "other"))
    assert token_cache.TokenCache.at(tmp_path / "tokens").load(source, silent).use == "filled"
    assert not (tmp_path / "tokens").exists()


def test_the_second_task_finds_the_tokens(tmp_path: Path, tiny_model: Path) -> None:
    for attempt in (1, 2):
        assert tr.run(tmp_path, tiny_model, attempt=attempt, max_steps=2 * attempt).outcome is State.COMPLETED
    facts = [tr.facts(tmp_path, attempt) for attempt in (1, 2)]
    assert [fact["token_cache"] for fact in facts] == ["filled", "used"]
    assert facts[0]["first_rows_sha256"] == facts[1]["first_rows_sha256"]


# --- bad rows


def test_bad_rows_are_left_out_and_listed(tmp_path: Path, tiny_model: Path) -> None:
    from tunesmith.rows.report.checking import check_file
    from tunesmith.spec.training import TrainSpec
    from tunesmith_platform.sandbox.count_tokens import CountSource, count_all, count_sample

    file = lines(tmp_path, GOOD, BAD, GOOD, BROKEN, *[GOOD] * 6)
    outcome = tr.run(tmp_path, tiny_model, rows=file, allowed_bad_percent=20, max_steps=2)
    assert outcome.outcome is State.COMPLETED, outcome
    events, facts = tr.events(tmp_path), tr.facts(tmp_path)
    assert (facts["rows"], facts["rows_skipped"]) == (8, 2)
    warning = next(event for event in events if event.get("code") == "rows_skipped")
    assert warning["message"].startswith("2 bad rows are left out.")
    assert "rows.jsonl:2:" in warning["message"]
    assert "rows.jsonl:4:" in warning["message"]
    spec = TrainSpec.read(
        {"model_name_or_path": str(tiny_model), "train_file": str(file), "allowed_bad_percent": 20}
    )
    assert count_all(CountSource(file, tiny_model, spec)).rows == facts["rows"]
    assert count_sample(CountSource(file, tiny_model, spec), size=9).rows in (7, 8, 9, 10)
    assert check_file(file, allowed_bad_percent=20).rows == facts["rows"]


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (0, "2 of 10 rows cannot be trained on. rows.jsonl:2: "),
        (10, "2 of 10 rows cannot be trained on, and `allowed_bad_percent` allows 10 %."),
    ],
)
def test_too_many_bad_rows_end_the_task(tmp_path: Path, tiny_model: Path, allowed: int, said: str) -> None:
    from tunesmith.rows.report.checking import check_file

    file = lines(tmp_path, GOOD, BAD, GOOD, BROKEN, *[GOOD] * 6)
    outcome = tr.run(tmp_path, tiny_model, rows=file, allowed_bad_percent=allowed, max_steps=2)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_DATA)
    assert outcome.message.startswith(said)
    assert "rows.jsonl:2" in outcome.message
    with pytest.raises(InvalidData):
        check_file(file, allowed_bad_percent=allowed)


def test_bad_rows_do_not_count_as_samples(tmp_path: Path, tiny_model: Path) -> None:
    from tunesmith_jobs.batches.encoded import load_rows

    file = lines(tmp_path, *[BAD, GOOD] * 20)
    found = load_rows(tr.source(file, tiny_model, max_samples=15, allowed_bad_percent=50))
    assert (len(found.rows), found.skipped) == (15, 20)
    with pytest.raises(InvalidData, match="nothing is left"):
        load_rows(tr.source(lines(tmp_path, BAD, BROKEN), tiny_model, allowed_bad_percent=100))


# --- how far it is


def test_a_long_phase_says_how_far_it_is_and_a_short_one_nothing() -> None:
    from tunesmith.events import Phase
    from tunesmith_jobs.train.telemetry.phase_progress import Pace

    now, said = [0.0], []
    pace = Pace(said.append, Phase.DATA, clock=lambda: now[0])
    for step in range(1, 2001):
        now[0] = step / 100
        pace(step, 2000)
    assert 10 <= len(said) <= 20
    assert (said[0].done, said[0].share) == (200, 0.1)
    assert said[0].seconds_left == pytest.approx(18)
    said.clear()
    for step in range(1, 200):  # another file
        now[0] = 20 + step / 100
        pace(step, 200)
    assert not said
    for step in range(200, 2300):
        now[0] = 20 + step / 100
        pace(step, None)
    assert [one.share for one in said] == [None, None]


def test_an_entry_is_held_against_all_code_that_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also against what lies in sub-folders: an entry that other code made would else be taken for this one's."""
    from tunesmith_jobs.batches import token_cache

    read: list[str] = []
    real = Path.read_bytes

    def listened(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", listened)
    token_cache._code()
    assert {"encoding.py", "template.py", "reading.py", "bad_rows.py", "tokenize.py", "encoded.py"} <= set(
        read
    )
