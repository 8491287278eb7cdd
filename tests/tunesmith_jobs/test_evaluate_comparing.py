"""Candidates compared in one process: what is asked, what is kept, what is found; and what a kill or a stop leaves."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from compared import SAMPLES, TASK, Asked, Trained, without_effect

from tunesmith.errors import InvalidData, InvalidInput, InvalidModel
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.events import EvaluationMade, Scored, Warned
from tunesmith.lifecycle import Desired, State
from tunesmith_jobs.evaluate import comparing, likeness, shard
from tunesmith_jobs.failures import Stopped


def test_every_candidate_answers_every_sample_and_they_are_compared(asked: Asked) -> None:
    outcome = asked.run()
    assert outcome.outcome is State.COMPLETED, outcome
    result = asked.result
    assert [one.candidate.key for one in result.candidates] == [
        "base",
        f"{TASK}/checkpoint-4",
        f"{TASK}/checkpoint-8",
    ]
    ids = [sample.id for sample in result.samples]
    assert len(ids) == len(SAMPLES) == len(set(ids))
    for one in result.candidates:
        assert [answer.sample_id for answer in one.answers] == ids
        assert {"perplexity", "rouge_l", "keyword_coverage", "composite"} <= one.means.keys()
        assert all(answer.nll is not None and answer.nll > 0 for answer in one.answers)
    # What was trained shows: eight steps at a high rate change every likelihood.
    assert result.of("base").means["perplexity"] != result.of(f"{TASK}/checkpoint-8").means["perplexity"]
    assert result.comparison is not None
    assert {(pair.candidate, pair.against) for pair in result.comparison.pairs} >= {
        (f"{TASK}/checkpoint-4", "base"),
        (f"{TASK}/checkpoint-8", "base"),
    }
    assert asked.generated == 3 * len(SAMPLES)


def test_what_lies_in_the_storage_can_be_read_by_others(asked: Asked) -> None:
    asked.run()
    folder = asked.folder / "artifacts" / "evaluation"
    assert {file.name for file in folder.iterdir()} == {
        "result.json", "answers.csv", "candidates.csv", "report-en.html", "report-zh.html", "manifest.json",
    }  # fmt: skip
    with (folder / "answers.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(SAMPLES)
    with (folder / "candidates.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3
    (made,) = asked.said(EvaluationMade)
    assert made.means.keys() == {"base", f"{TASK}/checkpoint-4", f"{TASK}/checkpoint-8"}
    last = {one.candidate: one for one in asked.said(Scored)}
    assert all(one.answered == one.total == len(SAMPLES) and one.means for one in last.values())


def test_a_repeat_computes_nothing_and_one_more_sample_one_answer_a_candidate(asked: Asked) -> None:
    asked.run()
    before, asked.generated = asked.result, 0
    asked.run(attempt=2)
    assert asked.generated == 0
    assert [one.answers for one in asked.result.candidates] == [one.answers for one in before.candidates]
    assert asked.result.comparable_by == before.comparable_by
    asked.write([*SAMPLES, ("Is it cold?", "It is cold.")])
    asked.run(attempt=3)
    assert asked.generated == 3
    assert asked.result.comparable_by != before.comparable_by


def test_a_candidate_that_comes_later_costs_its_own_answers_and_changes_no_others(asked: Asked) -> None:
    asked.run([asked.trained.candidate(step) for step in (None, 4)])
    before, asked.generated = asked.result, 0
    asked.run(attempt=2)
    assert asked.generated == len(SAMPLES)
    for one in before.candidates:
        now = asked.result.of(one.candidate.key)
        assert [(a.text, a.nll, a.scores) for a in now.answers] == [
            (a.text, a.nll, a.scores) for a in one.answers
        ]


def test_what_an_embedder_said_is_kept_too(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, Any]] = []

    def said(order: dict[str, Any]) -> dict[str, Any]:
        orders.append(order)
        return {"version": "v", "scores": [{"similarity": 0.5} for _ in order["answers"]], "warnings": []}

    monkeypatch.setattr(likeness, "run", said)
    asked.run(embedder=None)
    first = len(orders)
    assert 1 <= first <= 3, "once for each candidate that answers otherwise"
    assert asked.result.of("base").means["similarity"] == 0.5
    asked.run(attempt=2, embedder=None)
    assert len(orders) == first
    asked.write([*SAMPLES, ("Is it cold?", "It is cold.")])
    asked.run(attempt=3, embedder=None)
    assert {len(order["samples"]) for order in orders[first:]} == {7}, "the scale depends on all references"


def test_scorers_of_the_users_own_are_measured_and_weighed(asked: Asked) -> None:
    file = asked.folder / "scorers.yaml"
    file.write_text(
        "scorers:\n"
        "  - {name: short, kind: regex, pattern: '.{0,400}'}\n"
        "  - {name: polite, kind: contains, words: [Please]}\n"
    )
    asked.run(scorers=file, composite_weights={"short": 1.0})
    first = asked.result
    assert {"short", "polite"} <= first.of("base").means.keys()
    assert first.of("base").means["polite"] == 0.0
    assert first.of("base").means["composite"] == first.of("base").means["short"]
    asked.run(attempt=2)
    assert asked.result.comparable_by != first.comparable_by, "other scorers"
    file.write_text("scorers:\n  - {name: broken, kind: regex, pattern: '('}\n")
    with pytest.raises(InvalidInput, match="broken"):
        asked.run(scorers=file, attempt=3)


def test_other_ways_of_asking_are_other_answers(asked: Asked) -> None:
    asked.run()
    before, asked.generated = asked.result, 0
    asked.run(attempt=2, max_new_tokens=5)
    assert asked.generated == 3 * len(SAMPLES)
    assert asked.result.comparable_by != before.comparable_by


def test_a_killed_attempt_loses_only_the_shard_under_way(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    monkeypatch.setattr(comparing, "shards_of", lambda wanted, known: _shards(wanted, known, 2))
    shards = iter(range(100))

    def killed() -> None:
        if next(shards) == 4:
            raise Killed

    asked.on_shard = killed
    with pytest.raises(Killed):
        asked.run()
    assert asked.generated == 8
    asked.on_shard = lambda: None
    assert asked.run(attempt=2).outcome is State.COMPLETED
    assert asked.generated == 3 * len(SAMPLES), "nothing twice, nothing missing"
    assert all(len(one.answers) == len(SAMPLES) for one in asked.result.candidates)


def test_a_stop_keeps_what_is_whole(asked: Asked) -> None:
    def stop() -> None:
        if asked.generated >= len(SAMPLES):
            asked.outlet.desired = Desired.STOP

    asked.on_shard = stop
    with pytest.raises(Stopped, match="whole: 2"):
        asked.run()
    (made,) = asked.said(EvaluationMade)
    assert made.is_partial
    assert len(asked.result.candidates) == 2


def test_a_stop_before_anything_is_whole_keeps_the_answers(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "shards_of", lambda wanted, known: _shards(wanted, known, 2))

    def stop() -> None:
        if asked.generated >= 2:
            asked.outlet.desired = Desired.STOP

    asked.on_shard = stop
    with pytest.raises(Stopped, match="kept"):
        asked.run()
    asked.outlet.desired, asked.on_shard = Desired.RUN, lambda: None
    done = asked.generated
    asked.run(attempt=2)
    assert done > 0
    assert asked.generated == 3 * len(SAMPLES)


def _shards(wanted: Any, known: Any, size: int) -> Any:
    from tunesmith_jobs.evaluate.planning import shards_of

    return shards_of(wanted, known, size)


def test_what_stands_in_the_training_rows_is_marked_and_counts_for_nothing(asked: Asked) -> None:
    rows = asked.folder / "rows.jsonl"
    question, answer = SAMPLES[1]
    rows.write_text(
        json.dumps(
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        )
        + "\n"
    )
    asked.run(
        [asked.trained.candidate(step, train_path=str(rows) if step else None) for step in (None, 4, 8)]
    )
    result = asked.result
    seen = {sample.id for sample in result.samples if sample.reference == answer}
    assert set(result.of(f"{TASK}/checkpoint-4").seen) == seen
    assert result.of("base").seen == ()
    assert result.comparison is not None
    assert result.comparison.samples == len(SAMPLES) - 1
    assert "samples_seen" in asked.warned()


def test_an_adapter_that_changes_nothing_is_no_candidate(asked: Asked, tmp_path: Path) -> None:
    same = without_effect(asked, tmp_path)
    with pytest.raises(InvalidModel, match="changes no logit"):
        asked.run([asked.trained.candidate(None), same])
    asked.run([asked.trained.candidate(None), asked.trained.candidate(4), same], attempt=2)
    assert [one.candidate.key for one in asked.result.candidates] == ["base", f"{TASK}/checkpoint-4"]
    assert "without_effect" in asked.warned()


def test_a_checkpoint_that_was_changed_is_refused_before_anything_is_asked(
    asked: Asked, tmp_path: Path
) -> None:
    import shutil

    whole = asked.trained.candidate(8)
    folder = tmp_path / "changed"
    shutil.copytree(whole.candidate.uri, folder)
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    changed = whole.model_copy(
        update={
            "candidate": whole.candidate.model_copy(update={"uri": str(folder)}),
            "training": whole.training | {"attach_lora_path": str(folder)},
        }
    )
    with pytest.raises(InvalidModel, match="not what was saved"):
        asked.run([asked.trained.candidate(None), changed])
    assert asked.generated == 0


def test_drawn_answers_are_the_same_whatever_is_asked_beside_them(
    asked: Asked, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"temperature": 0.9, "repeats": 2}
    asked.run(**drawn)
    first = {(a.sample_id, a.repeat): a.text for a in asked.result.candidates[1].answers}
    assert len(first) == 2 * len(SAMPLES)
    other = Asked(tmp_path / "again", trained, monkeypatch)
    other.write(SAMPLES[2:])
    other.run(**drawn)
    for answer in other.result.candidates[1].answers:
        assert answer.text == first[answer.sample_id, answer.repeat]


def test_a_stop_before_cached_answers_are_scored_stores_no_empty_result(asked: Asked) -> None:
    # Answers that an earlier attempt kept make candidates whole before they have a score.
    asked.run([asked.trained.candidate(step) for step in (None, 4)])
    asked.outlet.said.clear()
    asked.outlet.desired = Desired.RUN
    real = asked.outlet.emit

    def stop_at_the_forecast(payload: Any) -> None:
        real(payload)
        if isinstance(payload, Scored):
            asked.outlet.desired = Desired.STOP

    asked.outlet.emit = stop_at_the_forecast  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="kept"):
        asked.run(attempt=2)
    assert asked.said(EvaluationMade) == []


def test_answers_that_cannot_be_kept_cost_nothing_but_their_computing(asked: Asked) -> None:
    place = asked.folder / "work" / "answers"
    place.parent.mkdir(parents=True)
    place.write_text("a file where the cache should be: whoever looks, root too, cannot write below it")
    assert asked.run().outcome is State.COMPLETED
    assert all(len(one.answers) == len(SAMPLES) for one in asked.result.candidates)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (("word " * 1000, "Yes."), "of an answer are more than"),
        (("Say yes.", "yes " * 1000), "with the expected answer are more than"),
    ],
)
def test_what_is_longer_than_the_model_reads_is_refused_before_it_is_asked(
    asked: Asked, sample: tuple[str, str], words: str
) -> None:
    asked.write([sample, SAMPLES[0]])
    with pytest.raises(InvalidData, match=words):
        asked.run([asked.trained.candidate(None)])
    assert asked.generated == 0


def test_in_16_bits_it_is_told_how_many_answers_another_batch_changes(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, alone = shard.run, list[dict[str, Any]]()

    def in_16_bits(order: dict[str, Any]) -> dict[str, Any]:
        found = real(order) | {"precision": "bf16"}
        if order["batch_size"] == 1:
            alone.append(order)
            answers = json.loads(found["answers"])
            answers[0]["text"] += " Or not."
            found["answers"] = json.dumps(answers)
        return found

    monkeypatch.setitem(asked.trained.spec, "precision", "auto")
    monkeypatch.setattr(shard, "run", in_16_bits)
    asked.run()
    assert asked.result.batch_disagreement is None, "of a few samples it would cost as much as all the rest"
    monkeypatch.setattr(comparing, "_ALONE_OF", 3 * len(SAMPLES))
    asked.run(attempt=2)
    assert asked.result.batch_disagreement is None, "nothing was computed: no model is loaded for it"
    (asked.folder / "work" / "answers").rename(tmp_path / "gone")
    asked.run(attempt=3)
    assert asked.result.batch_disagreement == 1 / len(SAMPLES)
    (order,) = alone
    assert [question[3] for question in order["questions"]] == [None] * len(SAMPLES)
    asked.run(attempt=4)
    assert asked.result.batch_disagreement == 1 / len(SAMPLES)
    assert len(alone) == 1, "it is kept"
    asked.run(attempt=5, per_device_eval_batch_size=1)
    assert asked.result.batch_disagreement is None
    page = (asked.folder / "artifacts/evaluation/report-en.html").read_text(encoding="utf-8")
    assert "Other answers at batch 1" not in page


def test_in_32_bits_nothing_is_asked_twice(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shard.run
    monkeypatch.setattr(shard, "run", lambda order: real(order) | {"precision": "fp32"})
    monkeypatch.setitem(asked.trained.spec, "precision", "auto")
    monkeypatch.setattr(comparing, "_ALONE_OF", 3 * len(SAMPLES))
    asked.run()
    assert asked.generated == 3 * len(SAMPLES)
    assert asked.result.batch_disagreement is None


def _as_of_a_running_task(asked: Asked, step: int) -> CandidateDocument:
    """A checkpoint that its training may remove."""
    import shutil

    whole = asked.trained.candidate(step)
    folder = asked.folder / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(whole.candidate.uri, folder)
    return whole.model_copy(
        update={
            "candidate": whole.candidate.model_copy(update={"uri": str(folder)}),
            "training": whole.training | {"attach_lora_path": str(folder)},
        }
    )


@pytest.mark.parametrize("when", ["before it begins", "before effects are looked at", "while others answer"])
def test_a_checkpoint_that_its_training_removes_costs_itself_alone(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    import shutil

    passing = _as_of_a_running_task(asked, 8)

    def remove() -> None:
        shutil.rmtree(passing.candidate.uri, ignore_errors=True)

    if when == "before it begins":
        remove()
    elif when == "before effects are looked at":
        real = shard.effects
        monkeypatch.setattr(shard, "effects", lambda order: (remove(), real(order))[1])
    else:
        asked.on_shard = lambda: remove() if asked.generated else None
    outcome = asked.run([asked.trained.candidate(None), asked.trained.candidate(4), passing])
    assert outcome.outcome is State.COMPLETED, outcome
    assert [one.candidate.key for one in asked.result.candidates] == ["base", f"{TASK}/checkpoint-4"]
    (warned,) = [one for one in asked.said(Warned) if one.code == "checkpoint_removed"]
    assert "checkpoint-8" in warned.message
    assert "checkpoint-8" in str(asked.result.warnings)
    assert asked.generated == 2 * len(SAMPLES), "nothing is asked twice"


def test_where_every_checkpoint_was_removed_the_reason_is_given(asked: Asked) -> None:
    import shutil

    passing = _as_of_a_running_task(asked, 8)
    shutil.rmtree(passing.candidate.uri)
    with pytest.raises(InvalidModel, match="removed by the training"):
        asked.run([asked.trained.candidate(None), passing])
    assert asked.generated == 0
