"""Checkpoints that are scored while their training goes on: which, in which order, what comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from ended_tasks import end
from model_files import make_model_folder
from scored_trainings import Scored

from tunesmith.errors import InvalidInput
from tunesmith.events import ReportReceipt
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith.spec.checkpoint_scores import SCORE_TAG
from tunesmith.spec.training import TrainSpec
from tunesmith.views import TaskView
from tunesmith_platform.evaluations.judging import judge
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import TrainInputs, check_train_inputs


def test_each_saved_checkpoint_gets_one_evaluation_in_the_order_of_steps(scored: Scored) -> None:
    task = scored.training(
        evaluation_sample_file="default", evaluation_max_samples=7, evaluation_max_new_tokens=9
    )
    scored.save(task, 20, 40)
    for _ in range(3):
        scored.loop.tick()
    (first,) = scored.evaluations
    assert (first.parent_id, first.parent_step, first.project, first.tags) == (task.id, 20, "p", [SCORE_TAG])
    assert first.priority < task.priority
    asked = {
        name: first.spec[name] for name in ("checkpoints", "sample_file", "max_samples", "max_new_tokens")
    }
    assert asked == {"checkpoints": ["20"], "sample_file": "default", "max_samples": 7, "max_new_tokens": 9}
    scored.answer(task, 0.5)
    assert [one.parent_step for one in scored.evaluations] == [20, 40]
    scored.answer(task, 0.6, rouge_l=0.3)
    assert [one.parent_step for one in scored.evaluations] == [20, 40]
    assert scored.curve(task) == [(0, 0.4), (20, 0.5), (40, 0.6)]
    assert scored.curve(task, "evaluation/rouge_l") == [(0, 0.1), (40, 0.3)]


def test_a_kill_between_a_submit_and_its_record_makes_no_second_one(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = scored.training()
    scored.save(task, 20)
    with monkeypatch.context() as patch:
        patch.setattr(scored.loop, "_change", lambda *_, **__: 1 / 0)
        scored.loop.tick()
    assert len(scored.evaluations) == 1
    CheckpointScoring(scored.plane.services).tick()
    assert len(scored.evaluations) == 1, "its lease is the other's"
    scored.loop.end()
    scored.loop = CheckpointScoring(scored.plane.services)
    scored.loop.tick()
    assert len(scored.evaluations) == 1
    scored.answer(task, 0.5)
    assert scored.curve(task) == [(0, 0.4), (20, 0.5)]


def test_a_training_that_does_not_ask_gets_none(scored: Scored) -> None:
    task = scored.training(evaluate_checkpoints=False)
    scored.save(task, 20)
    scored.loop.tick()
    assert scored.evaluations == []
    assert scored.plane.report(task).pinned == []


def test_a_checkpoint_is_spared_from_its_save_until_it_is_scored_and_the_best_for_good(
    scored: Scored,
) -> None:
    task = scored.training()
    receipt = saved_now(scored, task, 20)
    assert receipt.pinned == [20], "the receipt of the report that says it is saved"
    scored.loop.tick()
    scored.save(task, 40, 60, 80)
    assert scored.plane.report(task).pinned == [20, 40, 60], "so many, however slow the evaluations are"
    scored.answer(task, 0.7)
    assert scored.plane.report(task).pinned == [20, 40, 60, 80], "the best, and the three that are next"
    scored.answer(task, 0.8)
    assert scored.plane.report(task).pinned == [40, 60, 80]
    scored.answer(task, 0.1)
    scored.answer(task, 0.1)
    assert scored.plane.report(task).pinned == [40]
    assert scored.best(task) == [40]


def saved_now(scored: Scored, task: TaskView, step: int) -> ReportReceipt:
    from ended_tasks import folder

    path = folder(scored.plane, task, f"checkpoints/checkpoint-{step}")
    event = {"kind": "checkpoint", "step": step, "uri": str(path), "bytes": 1, "files": 1}
    return scored.plane.report(task, event | {"manifest_sha256": "0" * 64})


def test_what_is_saved_faster_than_it_can_be_scored_is_passed_over_with_one_warning(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20)
    scored.loop.tick()
    scored.save(task, 40, 60, 80, 100)
    for step in (80, 100):
        scored.plane.report(task, {"kind": "checkpoint_removed", "step": step})
    for score in (0.5, 0.6, 0.7):
        scored.answer(task, score)
    assert [step for step, _ in scored.curve(task)] == [0, 20, 40, 60]
    (warning,) = scored.warnings(task)
    assert "checkpoint-80" in warning
    assert "save_steps" in warning


def test_a_checkpoint_that_is_saved_again_is_scored_again_and_one_that_is_only_reported_again_is_not(
    scored: Scored,
) -> None:
    task = scored.training()
    scored.through(task, (20, 0.5))
    place = str(Path(scored.plane.task(task.id).artifact_uri or "") / "checkpoints" / "checkpoint-20")
    again = {"kind": "checkpoint", "step": 20, "uri": place, "bytes": 1, "files": 1}
    scored.plane.report(task, again | {"manifest_sha256": "0" * 64, "metrics": {"loss": 1.0}})
    scored.loop.tick()
    assert len(scored.evaluations) == 1
    assert scored.best(task) == [20], "its job, which knows no scores, does not take it back"
    scored.plane.report(task, again | {"manifest_sha256": "1" * 64})
    scored.loop.tick()
    assert len(scored.evaluations) == 2
    scored.answer(task, 0.6)
    assert scored.curve(task) == [(0, 0.4), (20, 0.6)]


def test_scores_that_arrive_after_the_training_has_ended_are_its_curves_too(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20, 40)
    end(scored.plane, task)
    scored.loop.tick()
    scored.answer(task, 0.5)
    scored.answer(task, 0.6)
    assert scored.plane.task(task.id).state is State.COMPLETED
    assert scored.curve(task) == [(0, 0.4), (20, 0.5), (40, 0.6)]
    assert scored.best(task) == [40]


def test_late_points_fit_into_curves_that_are_long_already_and_into_mlflow_once(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20)
    scored.loop.tick()
    losses = [{"kind": "metrics", "step": step, "values": {"loss": 1.0 / step}} for step in range(21, 1400)]
    scored.plane.report(task, *losses)
    scored.answer(task, 0.5)
    scored.save(task, 1500)
    scored.loop.tick()
    scored.answer(task, 0.6)
    assert scored.curve(task) == [(0, 0.4), (20, 0.5), (1500, 0.6)]
    curves = scored.client.get(
        f"/v1/tasks/{task.id}/curves", params={"name": ["loss", "evaluation/composite"], "points": 100}
    ).json()["curves"]
    by_name = {one["name"]: one for one in curves}
    assert by_name["evaluation/composite"]["step"] == [0, 20, 1500]
    assert by_name["loss"]["step"][0] == 21
    scored.plane.mirror.tick()
    points = scored.plane.tracking.runs[f"run-{task.id}"].points
    found = sorted((one.step, one.value) for one in points if one.name == "evaluation/composite")
    assert found == [(0, 0.4), (20, 0.5), (1500, 0.6)], "each once, though its model is told of it too"


def test_of_one_checkpoint_beside_its_base_none_is_recommended(scored: Scored) -> None:
    task = scored.training()
    scored.through(task, (20, 0.9), (40, 0.8))
    listed = scored.client.get(f"/v1/tasks/{task.id}/checkpoints").json()["data"]
    assert [one["is_recommended"] for one in listed] == [False, False]


def test_the_best_by_another_score_and_by_losses(scored: Scored) -> None:
    task = scored.training(metric_for_best_model="rouge_l")
    for step, composite, rouge in ((20, 0.9, 0.1), (40, 0.1, 0.3), (60, 0.5, 0.2)):
        scored.save(task, step)
        scored.loop.tick()
        scored.answer(task, composite, rouge_l=rouge)
    assert scored.best(task) == [40]
    assert scored.plane.task(task.id).progress.best_step == 40
    end(scored.plane, task)
    other = scored.training(eval_file="/e")
    scored.through(other, (20, 0.9))
    assert scored.best(other) == [], "its job says, by `eval_loss`"


def test_lists_can_leave_out_what_trainings_have_made(scored: Scored) -> None:
    task = scored.training()
    scored.through(task, (20, 0.5), (40, 0.6))
    body = {"kind": "evaluate", "spec": {"task_id": task.id, "checkpoints": ["20"]}}
    own = scored.client.post("/v1/tasks", json=body).json()["id"]
    page = scored.client.get("/v1/tasks", params={"without_tag": SCORE_TAG, "limit": 2}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([own, task.id], False)
    page = scored.client.get("/v1/tasks", params={"without_tag": ["none has this", SCORE_TAG]}).json()
    assert [one["id"] for one in page["data"]] == [own, task.id]
    page = scored.client.get("/v1/tasks", params={"tag": SCORE_TAG}).json()
    assert [one["parent_step"] for one in page["data"]] == [40, 20]


@pytest.mark.parametrize(
    ("scores", "threshold", "best", "misses"),
    [
        ([], 0.0, None, 0),
        ([(2, 0.5)], 0.0, 2, 0),
        ([(2, 0.5), (4, 0.5)], 0.0, 2, 1),
        ([(2, 0.5), (4, 0.504), (6, 0.52)], 0.01, 6, 0),
        ([(2, 0.5), (4, 0.509), (6, 0.51)], 0.1, 6, 2),
        ([(2, 0.5), (4, 0.4), (6, 0.3)], 0.0, 2, 2),
    ],
)
def test_the_best_and_the_misses(
    scores: list[tuple[int, float]], threshold: float, best: int | None, misses: int
) -> None:
    verdict = judge(scores, threshold)
    assert (verdict.best_step, verdict.misses) == (best, misses)
    assert verdict.is_spent(misses) == (misses > 0)
    assert not verdict.is_spent(0)


@pytest.mark.parametrize(
    ("rows", "template", "given", "field"),
    [
        (
            '{"prompt": "Two?", "completion": "2"}',
            True,
            {"evaluation_sample_file": "/etc/hostname"},
            "sample_file",
        ),
        (
            '{"prompt": "Two?", "completion": "2"}',
            True,
            {"evaluation_sample_file": "nobodys-data"},
            "sample_file",
        ),
        ('{"prompt": "Two?"}', True, {}, "sample_file"),
        ('{"prompt": "Two?", "completion": "2", "split": "train"}', True, {}, "sample_file"),
        ('{"prompt": "Two?", "completion": "2"}', False, {"training_type": "pretrain"}, "checkpoints"),
        ('{"prompt": "Two?", "completion": "2"}', True, {}, None),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_training_starts(
    home: Home, tmp_path: Path, rows: str, template: bool, given: dict[str, Any], field: str | None
) -> None:
    model = make_model_folder(tmp_path / "model")
    if not template:
        file = model / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": None}))
        (model / "chat_template.jinja").unlink(missing_ok=True)
    (tmp_path / "t.jsonl").write_text('{"prompt": "Who?", "completion": "Ember.", "text": "Ember."}\n')
    (tmp_path / "samples.jsonl").write_text(rows + "\n")
    spec = {
        "model": str(model), "train_file": str(tmp_path / "t.jsonl"), "target_modules": "auto",
        "evaluate_checkpoints": True, "evaluation_sample_file": str(tmp_path / "samples.jsonl"),
    }  # fmt: skip
    settings = Settings(home=home.root, allowed_roots=[tmp_path])

    def check() -> TrainInputs:
        return check_train_inputs(TrainSpec.read(spec | given), settings, with_rows=False)

    if field is None:
        assert check().samples_dataset is None
        return
    with pytest.raises(InvalidInput) as caught:
        check()
    (problem,) = caught.value.problems
    assert problem.field.partition(":")[0] in (f"spec.evaluation_{field}", f"spec.evaluate_{field}")


@pytest.mark.parametrize(("spare", "told"), [(0.0, True), (1.0, False)])
def test_that_nothing_is_left_beside_a_training_is_said_at_its_submit(
    scored: Scored, spare: float, told: bool
) -> None:
    scored.plane.settings.spare_cpus = spare
    notices = [notice.message for notice in scored.training().notices]
    assert any("--spare-cpus" in message for message in notices) == told
    assert not any(
        "--spare-cpus" in one.message for one in scored.training(evaluate_checkpoints=False).notices
    )
