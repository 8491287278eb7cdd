"""Two users' rows, of everything something, and what functions on rows are given of them. No test itself."""

import datetime as dt
from typing import Any

import numpy as np

from tunesmith.estimate import MeasurementState
from tunesmith.events import Metrics, StateChanged
from tunesmith.lifecycle import State
from tunesmith.spec.kinds import Room
from tunesmith.views import QuotaKind
from tunesmith_platform.db import tables as t
from tunesmith_platform.db.tables import Base
from tunesmith_platform.event_log.repository import Entry, Standing
from tunesmith_platform.monitoring.repository import LogQuery
from tunesmith_platform.series.codec import POINT, pack
from tunesmith_platform.tasks.repository import Filter

NUMBERS = {"a": 2000, "b": 1000}
"""Of what a user has that is numbered."""
NO_POINTS = pack(np.zeros(1, POINT))
MOMENT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
LATER = MOMENT + dt.timedelta(days=1)


def rows_of(who: str, number: int) -> list[Base]:
    """What a user has: of everything something, in an order in which it can be stored."""
    whose = {"owner": who, "project": f"project-{who}"}
    task = f"task-{who}"
    begun = {"created_at": MOMENT, "ended_at": None}
    events: list[dict[str, Any]] = [
        {"kind": "state", "state": "completed"},
        {"kind": "log", "level": "info", "source": "worker", "message": "said"},
        {"kind": "metrics", "step": 1, "values": {"loss": 1.0}},
        {"kind": "system", "step": 1, "workers": []},
        {"kind": "warning", "code": "spike", "message": "m"},
        {"kind": "log", "level": "info", "source": "worker", "message": "last"},
    ]

    def a_task(name: str, **more: Any) -> t.TaskRow:
        values: dict[str, Any] = {
            "id": name,
            "kind": "train",
            "name": name,
            "priority": 0,
            "tags": [],
            "notes": "",
            "spec": {
                "model_name_or_path": "m",
                "train_file": "f",
                "save_steps": 5,
                "max_steps": 10,
                "max_new_tokens": 9,
            },
            "notices": [],
            "state": "running",
            "desired": "stop",
            "lease_owner": f"holder-{who}",
            "message": "said so",
            "attempt": 1,
            "is_attempt_open": True,
            "events": len(events) + 1,
            "progress": {},
            "inputs": {
                "model_path": f"/m/{who}",
                "encoder_path": f"/m/{who}",
                "train_path": f"/d/{who}",
                "output_dir": f"/o/{who}",
            },
            "artifact_uri": f"/files/{name}",
            "model_uri": f"/files/{name}/model",
            "heartbeat_at": MOMENT,
            "started_at": MOMENT,
            **whose,
            **begun,
        }
        return t.TaskRow(**values | more)

    return [
        a_task(task),
        a_task(f"{task}-waits", state="pending", desired="run", is_attempt_open=False, attempt=0),
        a_task(f"{task}-ended", state="completed", desired="run", is_attempt_open=False, ended_at=MOMENT),
        t.ModelRow(
            id=f"model-{who}",
            name=f"model-{who}",
            hub_id=f"hub/{who}",
            path=f"/m/{who}",
            facts={"read": True},
            stamps={},
            sums={},
            created_at=MOMENT,
            checked_at=MOMENT,
            **whose,
        ),
        t.DatasetRow(
            id=f"data-{who}", name=f"data-{who}", numbers=1, created_at=MOMENT, updated_at=MOMENT, **whose
        ),
        t.UploadRow(id=f"upload-{who}", name="n", file_name="n", bytes=1, created_at=MOMENT, **whose),
        t.TemplateRow(
            id=f"template-{who}",
            name=f"template-{who}",
            kind="train",
            parameters={},
            created_at=MOMENT,
            updated_at=MOMENT,
            **whose,
        ),
        t.MeasurementRow(
            id=f"measure-{who}", key=f"key-{who}", state="measuring", spec={}, inputs={}, **begun, **whose
        ),
        t.WebhookRow(id=f"hook-{who}", url="http://x", events=[], language="en", created_at=MOMENT, **whose),
        t.DeliveryRow(
            id=number,
            receiver=f"hook-{who}",
            event="failed",
            task_id=task,
            n=1,
            payload={},
            state="pending",
            next_at=MOMENT,
            created_at=MOMENT,
            ended_at=MOMENT,
            **whose,
        ),
        t.IdempotencyRow(key=f"key-{who}", body_sha256="0", task_id=task, created_at=MOMENT, **whose),
        t.PipelineRow(
            id=f"pipe-{who}",
            name="p",
            workflow="w",
            request={},
            state="running",
            desired="run",
            **begun,
            **whose,
        ),
        t.QuotaProjectRow(
            project=whose["project"],
            enabled=True,
            low_threshold=0,
            is_low=False,
            granted=9,
            charged=1,
            reserved=3,
        ),
        t.QuotaEntryRow(
            id=number,
            project=whose["project"],
            time=MOMENT,
            kind="charge",
            amount=-1,
            reserved=3,
            available=5,
            task_id=task,
            step=1,
            by=who,
            key=f"key-{who}",
        ),
        t.AttemptRow(
            task_id=task,
            number=1,
            phase="submitted",
            last_seq=len(events),
            created_at=MOMENT,
            submitted_at=MOMENT,
            training_started_at=MOMENT + dt.timedelta(seconds=number),
        ),
        t.CheckpointRow(
            task_id=task,
            step=1,
            attempt=1,
            uri="/c",
            bytes=1,
            files=1,
            manifest_sha256="0",
            metrics={},
            is_best=True,
            is_pinned=True,
            created_at=MOMENT,
        ),
        t.EvaluationRow(
            task_id=task,
            attempt=1,
            uri="/e",
            sha256="0",
            comparable_by="0",
            answer_seconds=1.0,
            means={},
            sentence={},
            created_at=MOMENT,
        ),
        t.EvaluatedRow(task_id=task, of_task_id=task),
        t.CheckpointUseRow(task_id=task, of_task_id=task, step=1),
        t.CheckpointScoreRow(
            task_id=task,
            step=1,
            manifest_sha256="0",
            state="waiting",
            evaluation_id=f"{task}-waits",
            means={},
            is_spared=True,
            created_at=MOMENT,
        ),
        t.MirrorRow(task_id=task, n=1, run_id=f"run-{who}", is_described=True, steps={}),
        *(
            t.EventRow(task_id=of, n=n, attempt=1, seq=n, kind=payload["kind"], time=MOMENT, payload=payload)
            for of in (task, f"{task}-ended")
            for n, payload in enumerate(events, start=1)
        ),
        t.ChunkRow(
            task_id=task,
            name="loss",
            number=1,
            segment=0,
            attempt=1,
            start=0,
            points=0,
            first_step=1,
            last_step=1,
            rollup=NO_POINTS,
            data=NO_POINTS,
        ),
        t.NoticeCursorRow(task_id=task, n=0),
        t.DatasetVersionRow(
            dataset_id=f"data-{who}",
            number=1,
            sha256=f"sum-{who}",
            bytes=1,
            file_name="f",
            path=f"/d/{who}",
            stamp=[1, 1],
            is_copied=True,
            source="s",
            facts={},
            created_at=MOMENT,
        ),
        t.PipelineStepRow(
            pipeline_id=f"pipe-{who}",
            position=0,
            name="s",
            kind="train",
            component="c",
            method="train",
            parameters={},
            needs=[],
            state="completed",
            key=f"key-{who}",
            outputs={},
            ended_at=MOMENT,
        ),
        t.PipelineStepRow(
            pipeline_id=f"pipe-{who}",
            position=1,
            name="r",
            kind="train",
            component="c",
            method="train",
            parameters={},
            needs=[],
            state="running",
            key=f"key-{who}",
            outputs={},
            ended_at=MOMENT,
        ),
    ]


def arguments(who: str) -> dict[str, Any]:
    """What a function is given, by the names of its parameters; of a function's own under its name."""
    task, number = f"task-{who}", NUMBERS[who]
    standing = Standing(
        id=task,
        attempt=1,
        is_attempt_open=True,
        state="running",
        desired="run",
        save_requests=0,
        events=9,
        folded=0,
        progress={},
    )
    whole: dict[str, Any] = {
        "task_id": task,
        "task_ids": [task],
        "limit": 50,
        "before": None,
        "step": 1,
        "steps": [1],
        "after": None,
        "dataset": f"data-{who}",
        "dataset_id": f"data-{who}",
        "dataset_ids": [f"data-{who}"],
        "upload_id": f"upload-{who}",
        "evaluation_id": f"{task}-waits",
        "moment": LATER,
        "measurement_id": f"measure-{who}",
        "key": f"key-{who}",
        "states": [MeasurementState.MEASURING],
        "model_path": f"/m/{who}",
        "model": f"model-{who}",
        "model_id": f"model-{who}",
        "name": f"data-{who}",
        "hub_id": f"hub/{who}",
        "path": f"/m/{who}",
        "wanted": f"model-{who}",
        "webhook_id": f"hook-{who}",
        "pipeline_id": f"pipe-{who}",
        "position": 0,
        "locked": False,
        "folder": f"/files/{task}",
        "room": Room.TRAIN,
        "project": f"project-{who}",
        "number": number,
        "numbers": [1],
        "n": 0,
        "up_to": 100,
        "kinds": None,
        "kind": "log",
        "level": None,
        "attempts": [(task, 1)],
        "tasks": [standing],
        "entries": [Entry(task, 30, 1, None, "log", MOMENT, "{}")],
        "payload": StateChanged(state=State.RUNNING, reason=None, message="m"),
        "advanced": [task],
        "each": 5,
        "most": 5,
        "newest": 5,
        "count": 1,
        "code": "spike",
        "ended_before": LATER,
        "receiver": f"hook-{who}",
        "until": LATER + dt.timedelta(days=1),
        "read": {task: 3},
        "place": f"/files/{task}/model",
        "output_dir": f"/o/{who}",
        "but": None,
        "folders": [f"/m/{who}"],
        "beginning": "said",
        "holder": "h",
        "but_message": None,
        "names": None,
        "by": "x",
        "oldest_first": True,
        "task": t.TaskRow,
        "version": t.DatasetVersionRow,
    }
    of_one: dict[str, dict[str, Any]] = {
        "checkpoints.mark_best": {"step": None},
        "checkpoints.put": {"row": t.CheckpointRow},
        "events.append_measured": {"payload": Metrics(step=1, values={"evaluation/composite": 0.5})},
        "evaluations.put_score": {"row": t.CheckpointScoreRow},
        "tasks.use": {"checkpoints": [(task, 2)]},
        "evaluations.newest": {"of_task": task, "before": None},
        "evaluations.newest_speed": {"folder": f"/m/{who}"},
        "evaluations.put": {"row": t.EvaluationRow, "of_tasks": [task]},
        "datasets.is_copied": {"sha256": f"sum-{who}", "file_name": "f"},
        "datasets.live_task_reading": {"path": f"/d/{who}"},
        "datasets.require_version": {"row": t.DatasetRow, "number": 1},
        "events.append_own": {"payload": {"kind": "log", "message": "m"}},
        "events.metrics_at": {"before": 100},
        "events.move": {"attempts": {(task, 1): 9}},
        "models.by_name": {"name": f"model-{who}"},
        "monitoring.log": {"wanted": LogQuery(), "after": 0},
        "monitoring.is_warned": {"after": 0},
        "monitoring.newest_before": {"kinds": ["log"]},
        "monitoring.remove": {"numbers": [2]},
        "notifications.claim": {"row": t.DeliveryRow},
        "notifications.remove_webhook": {"row": t.WebhookRow},
        "pipelines.users_of": {"folder": f"/d/{who}", "pipeline_id": "pipe-x"},
        "quota.append": {
            "row": t.QuotaProjectRow,
            "kind": QuotaKind.GRANT,
            "amount": 1,
            "step": None,
            "key": None,
        },
        "quota.charge": {"steps": [2]},
        "series.data": {"name": "loss"},
        "series.roll_ups": {"name": "loss"},
        "series.measured": {"after": 0},
        "tasks.attempt_of": {"number": 1},
        "tasks.find": {"wanted": Filter()},
        "tasks.claim": {"holder": f"holder-{who}"},
        "tasks.free_leases": {"owners": ["holder-a", "holder-b"]},
        "tasks.open_ids": {"kinds": ["train"]},
        "tasks.require_attempt": {"number": 1},
        "templates.by_name": {"name": f"template-{who}"},
        "templates.put": {"row": t.TemplateRow},
    }
    return {"": whole, **of_one}
