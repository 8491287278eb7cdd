"""A small real HTTP server with the API's shapes, for tests of the client and the CLI.

It can be killed in the middle of a stream and started again on the same port, can lose an answer after it has
acted, and can refuse for a while. It knows one user and keeps its tasks in memory.
"""

import datetime as dt
import json
import socket
import threading
from typing import Any

import uvicorn
from fake_endpoints import app_of
from pydantic import TypeAdapter

from tunesmith import views
from tunesmith.dataset_views import DatasetView
from tunesmith.errors import IdempotencyConflict, NotFound
from tunesmith.events import AnyPayload, StateChanged
from tunesmith.lifecycle import REASONS, Desired, Reason, State
from tunesmith.model_views import ModelState, ModelView
from tunesmith.spec.problems import invalid_input
from tunesmith.spec.task import NewTrainTask

KEY = "ts-a-key-that-must-never-show"
NOW = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC)
_PAYLOAD: TypeAdapter[Any] = TypeAdapter(AnyPayload)


class FakeApi:
    """The server and all that it holds. Use as a context manager."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.tasks: dict[str, views.TaskView] = {}
        self.events: dict[str, list[views.EventView]] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.requests: list[tuple[str, str]] = []
        self.models: list[ModelView] = []
        self.checked: list[dict[str, Any]] = []
        """What was asked for without being submitted."""
        self.data_runs: list[dict[str, Any]] = []
        """Operations on data sets that were asked for."""
        self.unreachable_hub = False
        """Whether what is loaded from the Hub cannot be."""
        self.last_event_ids: list[str] = []
        self.refusals: list[int] = []
        """Statuses that the next calls are answered with, without an effect."""
        self.lost_answers = 0
        """How many of the next calls take effect and break off before they are answered."""
        self.cut_stream_after: list[int] = []
        """Bytes after which the next streams break off, wherever in an event that is."""
        self.kind_of_tomorrow = 0
        """Number of the event whose kind no client knows yet."""
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # --- what tests do to it

    def start(self) -> None:
        config = uvicorn.Config(
            app_of(self, KEY), host="127.0.0.1", port=self.port, log_level="critical", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        started = threading.Event()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            started.wait(0.005)

    def kill(self) -> None:
        """Go away at once, in the middle of whatever is being answered."""
        assert self._server is not None
        assert self._thread is not None
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def __enter__(self) -> "FakeApi":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def add_task(self, name: str = "ember", **changes: Any) -> views.TaskView:
        n = len(self.tasks) + 1
        spec = {"model_name_or_path": "/models/m", "train_file": "/data/t.jsonl", "learning_rate": 5e-4}
        task = views.TaskView(
            id=f"task-{n:018}",
            kind="train",
            name=name,
            project="default",
            state=State.PENDING,
            desired=Desired.RUN,
            priority=0,
            tags=[],
            notes="",
            attempt=1,
            progress=views.ProgressView(),
            spec=spec,
            events=0,
            created_at=NOW + dt.timedelta(seconds=n),
        )
        self.tasks[task.id] = task.model_copy(update=changes)
        self.events[task.id] = []
        return self.tasks[task.id]

    def add_model(self, name: str, hub_id: str | None) -> None:
        """A base model that the platform has."""
        self.models.append(
            ModelView(
                id=f"model-{len(self.models)}", name=name, hub_id=hub_id, state=ModelState.READY, path=f"/m/{name}",
                is_found=True, disk_bytes=1, created_at=NOW, checked_at=NOW,
            )
        )  # fmt: skip

    def dataset(self, name: str) -> DatasetView:
        """A data set; one that was mixed says what each of its sources gave."""
        run = next((run for run in self.data_runs if run["operation"] == name.partition("@")[0]), None)
        sources = run["parameters"].get("datasets", []) if run else []
        version = {
            "number": 1, "sha256": "0" * 64, "bytes": 1, "file_name": "rows.jsonl", "format": "jsonl",
            "kind": "conversation", "source": "upload", "is_copied": True, "created_at": NOW,
            "lineage": {
                "task_id": "t", "operation": "mix", "parameters": {}, "sources": sources,
                "parts": [{"source": source, "rows": 10 + n} for n, source in enumerate(sources)],
            },
        }  # fmt: skip
        whole = {
            "id": name,
            "name": name,
            "latest": 1,
            "versions": [version],
            "created_at": NOW,
            "updated_at": NOW,
        }
        return DatasetView.model_validate(whole)

    def work_on_data(self, body: dict[str, Any]) -> views.TaskView:
        """An operation on data sets that is over at once."""
        self.data_runs.append(body)
        into = body.get("into") or body["operation"]
        fails = self.unreachable_hub and body["operation"] == "load"
        ended = {
            "kind": "dataset",
            "state": State.FAILED if fails else State.COMPLETED,
            "datasets": [] if fails else [f"{into}@1"],
            "message": "`org/name` could not be loaded: no route to the Hub." if fails else "",
            "ended_at": NOW,
        }
        return self.add_task(f"{body['operation']}-{len(self.data_runs)}", **ended)

    def append(self, task_id: str, *payloads: dict[str, Any]) -> None:
        """Add events to a task's log; a `state` event moves it."""
        for raw in payloads:
            payload = _PAYLOAD.validate_python(raw)
            n = len(self.events[task_id]) + 1
            time = NOW + dt.timedelta(seconds=n)
            self.events[task_id].append(views.EventView(n=n, attempt=1, time=time, payload=payload))
            change: dict[str, Any] = {"events": n}
            if isinstance(payload, StateChanged):
                facts = REASONS[payload.reason] if payload.reason else None
                change |= {"state": payload.state, "reason": payload.reason, "message": payload.message}
                if payload.state.is_terminal:
                    change |= {
                        "ended_at": time,
                        "fault": facts and facts.fault,
                        "next_step": facts and facts.next_step,
                    }
                if payload.state is State.RUNNING:
                    change |= {"started_at": time}
            self.tasks[task_id] = self.tasks[task_id].model_copy(update=change)

    def run_to(self, task_id: str, state: State, reason: Reason, steps: int = 5) -> None:
        """Let a task train some steps and end."""
        self.append(
            task_id,
            {"kind": "state", "state": "running"},
            {"kind": "training_started", "step": 0, "total_steps": steps},
        )
        for step in range(1, steps + 1):
            self.append(
                task_id,
                {"kind": "metrics", "step": step, "values": {"loss": 3.0 / step, "learning_rate": 1e-4}},
                {"kind": "progress", "step": step, "total_steps": steps, "seconds_left": steps - step},
            )
        self.append(
            task_id, {"kind": "state", "state": state, "reason": reason, "message": REASONS[reason].words}
        )

    # --- how it answers

    def dumped(self, event: views.EventView) -> dict[str, Any]:
        data = event.model_dump(mode="json")
        if event.n == self.kind_of_tomorrow:
            data["payload"]["kind"] = "of-tomorrow"
        return data

    def task(self, task_id: str) -> views.TaskView:
        if task_id not in self.tasks:
            raise NotFound(f"There is no task `{task_id}`.", hint="`tunesmith tasks list` shows them.")
        return self.tasks[task_id]

    def create(self, body: dict[str, Any], key: str | None) -> tuple[views.TaskView, int]:
        from pydantic import ValidationError

        try:
            new = NewTrainTask.model_validate(body)
        except ValidationError as error:
            raise invalid_input(error, NewTrainTask) from error
        sent = json.dumps(body, sort_keys=True)
        if key in self.keys:
            task_id, before = self.keys[key]
            if before != sent:
                raise IdempotencyConflict("This `Idempotency-Key` was used with another body.")
            return self.tasks[task_id], 200
        task = self.add_task(
            new.name or "sft_1",
            project=new.project or "default",
            tags=new.tags,
            notes=new.notes,
            priority=new.priority,
            spec=new.spec.model_dump(mode="json"),
            notices=new.spec.notices,
        )
        if key:
            self.keys[key] = (task.id, sent)
        return task, 201
