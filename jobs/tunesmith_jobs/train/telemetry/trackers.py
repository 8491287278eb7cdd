"""Experiment trackers beside our own record: TensorBoard files and Weights & Biases.

Fed from the same measurements as the event log, by a thread of their own: a tracker that is slow, full or away costs
training nothing but a warning. MLflow is not among them: the control plane writes it from the event log.
Knows the trackers' writers; knows nothing of training.
"""

import datetime as dt
import logging
import os
import queue
import shutil
import threading
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.availability import tracker_problems
from tunesmith.errors import InvalidInput
from tunesmith.events import (
    JobPayload,
    Metrics,
    SampleAnswer,
    SamplesAnswered,
    TrainingStarted,
    Warned,
)
from tunesmith.proxies import outside
from tunesmith.secret_values import hide, known_secrets, named
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.outlet import Outlet, Relay
from tunesmith_jobs.train.telemetry.system import Gpus

FOLDER = "tensorboard"
SHOWN = "runs"
"""Where in a task's `output_dir` the event files are found."""
_MOST_WAITING = 10_000
_CLOSE_SECONDS = 30.0
_log = logging.getLogger("tunesmith_jobs.sinks")


class Sink(Protocol):
    """One tracker."""

    def start(self, step: int, facts: Mapping[str, Any]) -> None:
        """The run begins, or goes on, after `step`."""

    def write(self, step: int, values: Mapping[str, float], moment: dt.datetime) -> None:
        """Measurements at a step."""

    def show(self, step: int, answers: Sequence[SampleAnswer], moment: dt.datetime) -> None:
        """What the model writes to its sample prompts at a step."""

    def close(self) -> None:
        """No more will come."""


@dataclass(frozen=True)
class Run:
    """What a tracker is told of the run."""

    spec: TrainSpec
    task_id: str
    name: str
    artifact_uri: str
    scratch: Path
    output_dir: Path | None = None


class TensorBoard:
    """Event files in the task's artifact folder; on another storage they are brought there at the end.

    `output_dir/runs` shows them, each task's under its id, as `tensorboard --logdir` takes it.
    """

    def __init__(self, run: Run) -> None:
        root = local_path(run.artifact_uri)
        self._uri = None if root is not None else run.artifact_uri
        self._folder = (root or run.scratch) / FOLDER
        self._shown = run.output_dir / SHOWN / run.task_id if run.output_dir else None
        self._writer: Any = None

    def start(self, step: int, facts: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        from tensorboardX import SummaryWriter

        # What a lost worker wrote beyond the checkpoint is done again: viewers drop it from here.
        # A file is named by the second: one that goes on within it would be written over the first.
        own = f".{clock.time_ns()}"
        purged = step + 1 if step else None
        self._writer = SummaryWriter(logdir=str(self._folder), purge_step=purged, filename_suffix=own)
        if self._shown is not None and self._uri is None and not os.path.lexists(self._shown):
            self._shown.parent.mkdir(parents=True, exist_ok=True)
            self._shown.symlink_to(self._folder, target_is_directory=True)

    def write(self, step: int, values: Mapping[str, float], moment: dt.datetime) -> None:
        """See `Sink.write`."""
        for name, value in values.items():
            group = "eval" if name.startswith("eval_") else "train"
            self._writer.add_scalar(f"{group}/{name.removeprefix('eval_')}", value, step, moment.timestamp())
        self._writer.flush()

    def show(self, step: int, answers: Sequence[SampleAnswer], moment: dt.datetime) -> None:
        """See `Sink.show`."""
        for number, one in enumerate(answers, start=1):
            text = f"{_indented(one.prompt)}\n\n---\n\n{_indented(one.text)}"
            self._writer.add_text(f"samples/{number}", text, step, moment.timestamp())
        self._writer.flush()

    def close(self) -> None:
        """See `Sink.close`."""
        if self._writer is None:
            return
        self._writer.close()
        if self._uri is not None:
            open_storage(self._uri).put_folder(self._folder, FOLDER)
            if self._shown is not None and not self._shown.is_symlink():
                shutil.copytree(self._folder, self._shown, dirs_exist_ok=True)


class Wandb:
    """A Weights & Biases run: online where the worker is given `WANDB_API_KEY` or its file, else as offline files."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._gpus = Gpus()
        self._wandb: Any = None
        self._folder = (local_path(run.artifact_uri) or run.scratch) / "wandb"

    def start(self, step: int, facts: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        import wandb

        try:
            self._start(wandb, facts)
        except BaseException:
            wandb.teardown()  # the process that writes its logs
            self._clean_logs()
            raise

    def _start(self, wandb: Any, facts: Mapping[str, Any]) -> None:
        run, folder = self._run, self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self._clean_logs()  # of an attempt that was killed
        proxies = outside()
        key = named("WANDB_API_KEY")
        mode = os.environ.get("WANDB_MODE") or ("online" if key else "offline")
        self._wandb = wandb.init(
            project=run.spec.wandb_project or "tunesmith",
            name=run.spec.wandb_name or run.name,
            id=run.task_id,
            resume="allow" if mode == "online" else None,
            dir=str(folder),
            mode=mode,
            config=run.spec.model_dump(mode="json") | {"facts": dict(facts)},
            # What it would gather by itself, code and output and machine, is not its business.
            settings=wandb.Settings(
                api_key=key or None,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                silent=True,
                init_timeout=30,
                http_proxy=proxies.get("http_proxy") or proxies.get("all_proxy"),
                https_proxy=proxies.get("https_proxy") or proxies.get("all_proxy"),
            ),
        )

    def write(self, step: int, values: Mapping[str, float], moment: dt.datetime) -> None:
        """See `Sink.write`."""
        named = {
            f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}": value
            for name, value in values.items()
        }
        machine = {f"system/{name}": value for name, value in self._gpus.values().items()}
        self._wandb.log(named | machine | {"_timestamp": moment.timestamp()}, step=step)

    def show(self, step: int, answers: Sequence[SampleAnswer], moment: dt.datetime) -> None:
        """See `Sink.show`."""
        import wandb

        rows = [[step, one.prompt, one.text, one.finish_reason] for one in answers]
        table = wandb.Table(columns=["step", "prompt", "answer", "finish_reason"], data=rows)
        self._wandb.log({"samples": table, "_timestamp": moment.timestamp()}, step=step)

    def close(self) -> None:
        """See `Sink.close`."""
        if self._wandb is not None:
            self._wandb.finish()
            self._clean_logs()

    def _clean_logs(self) -> None:
        """Take secrets out of what W&B writes beside its files: its service's answers, which may repeat the key."""
        for file in self._folder.glob("wandb/*run-*/logs/*.log"):
            text = file.read_text("utf-8", "replace")
            hidden = hide(text, known_secrets())
            if hidden != text:
                file.write_text(hidden, "utf-8")


def _indented(text: str) -> str:
    """A text that Markdown shows as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    "


SINKS: dict[str, Callable[[Run], Sink]] = {"tensorboard": TensorBoard, "wandb": Wandb}
"""The trackers that a job feeds itself."""


class Tee(Relay):
    """An outlet that tells the trackers too."""

    def __init__(self, outlet: Outlet, run: Run) -> None:
        """Start the trackers that the spec names.

        Raises:
            InvalidInput: A tracker's package is not installed.
        """
        super().__init__(outlet)
        problems = tracker_problems(run.spec)
        if problems:
            raise InvalidInput(problems[0].message, hint=problems[0].hint, problems=problems)
        self._sinks = {name: SINKS[name](run) for name in run.spec.report_to if name in SINKS}
        self._queue: queue.Queue[tuple[JobPayload, dt.datetime] | None] = queue.Queue(_MOST_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._feed, name="trackers", daemon=True)
        if self._sinks:
            self._thread.start()

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say it to the outlet, and leave measurements to the trackers' thread."""
        super().emit(payload, time)
        if self._sinks and isinstance(payload, Metrics | TrainingStarted | SamplesAnswered):
            try:
                self._queue.put_nowait((payload, time or dt.datetime.now(dt.UTC)))
            except queue.Full:
                self._left_out += 1

    def close(self) -> None:
        """Let the trackers finish, for a bounded time."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put(None, timeout=_CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._left_out:
            _log.warning("%s measurements were not given to the trackers: they were too slow", self._left_out)

    def _feed(self) -> None:
        while (item := self._queue.get()) is not None:
            payload, moment = item
            for name in list(self._sinks):
                self._tell(name, payload, moment)
        for name in list(self._sinks):
            self._guarded(name, self._sinks[name].close)

    def _tell(self, name: str, payload: JobPayload, moment: dt.datetime) -> None:
        sink = self._sinks[name]
        if isinstance(payload, TrainingStarted):
            self._guarded(name, lambda: sink.start(payload.step, payload.facts))
        elif isinstance(payload, Metrics):
            self._guarded(name, lambda: sink.write(payload.step, payload.values, moment))
        elif isinstance(payload, SamplesAnswered):
            self._guarded(name, lambda: sink.show(payload.step, payload.answers, moment))

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        """A tracker that fails is left out for the rest of the run."""
        try:
            act()
        except BaseException as error:  # whatever a tracker raises must not end training
            self._sinks.pop(name, None)
            _log.debug("%s failed", name, exc_info=True)
            self._outlet.emit(
                Warned(
                    code="tracker_failed",
                    message=hide(f"`{name}` takes no more measurements: {type(error).__name__}: {error}")[
                        :500
                    ],
                    hint="Training goes on; our own charts have everything.",
                )
            )
