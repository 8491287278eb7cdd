"""One episode: a task is submitted, hurt as its seed says, stopped and continued, and looked at when all is over.

Also a program: `python tests/nemesis/run.py --seeds 60` (`make nemesis SEEDS=60`).
"""

import contextlib
import datetime as dt
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from nemesis.checker import Reference, Seen, ended_as_it_may, model_sha256, violations
from nemesis.phases import EVAL_STEPS, SAVE_STEPS, STEPS
from nemesis.plan import Cell, Episode, Part, Phase, ends_attempt
from nemesis.world import NotThere, World, processes_of
from waiting import wait_until

from tunesmith.artifacts import CHECKPOINTS
from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith.spec.task import NewTrainTask
from tunesmith.storage import open_storage
from tunesmith.views import EventView, TaskView

_END_SECONDS = 900.0
"""Far more than it takes: how long it does is no promise, and a machine that others use too is slow."""
_MIRROR_SECONDS = 90.0
_LOOK_SECONDS = 0.1
_REVIVE_SECONDS = 5.0


@dataclass
class Result:
    """What came of an episode."""

    seed: int
    hit: list[Cell] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    attempts: int = 0
    model_sha256: str = ""


class Witness:
    """Looks at a task all the time: follows its stream, and notes what lives when an end is first shown."""

    def __init__(self, world: World, task_id: str) -> None:
        self._world, self._task_id = world, task_id
        self.followed: list[EventView] = []
        self.left_at_end: dict[str, list[str]] = {}
        self.state: State | None = None
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, daemon=True),
            threading.Thread(target=self._look, daemon=True),
            threading.Thread(target=self._revive, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        for thread in self._threads[1:]:
            thread.join(60)

    def caught_up(self, last: int) -> bool:
        """Whether the stream has given everything up to an event."""
        return bool(self.followed) and self.followed[-1].n >= last

    def _follow(self) -> None:
        client = self._world.client()
        while not self._over.is_set():
            after = self.followed[-1].n if self.followed else 0
            with contextlib.suppress(TunesmithError):
                for event in client.stream(self._task_id, after):
                    self.followed.append(event)
            self._over.wait(0.5)  # it ended, and may be continued

    def _look(self) -> None:
        client = self._world.client(retry_seconds=0)
        while not self._over.wait(_LOOK_SECONDS):
            with contextlib.suppress(TunesmithError):
                state = client.task(self._task_id).state
                if state.is_terminal and state != self.state:
                    alive = processes_of(self._task_id)
                    self.left_at_end.setdefault(
                        str(state), [f"{p.pid} {' '.join(p.cmdline())[:80]}" for p in alive]
                    )
                self.state = state

    def _revive(self) -> None:
        while not self._over.wait(_REVIVE_SECONDS):
            with contextlib.suppress(RuntimeError, OSError):
                self._world.revive()


def run(world: World, episode: Episode, reference: Reference | None) -> tuple[Result, Seen]:
    """Run an episode.

    Args:
        world: The platform.
        episode: What happens.
        reference: The same task, left alone; None to make it.
    """
    begun = time.monotonic()
    result = Result(episode.seed)
    key = f"nemesis-{episode.seed}-{time.time_ns()}"
    body = _body(world, episode)
    client = world.client()
    task = client.create_task(body, idempotency_key=key)
    bystander = world.root / f"out-{episode.seed}" / "bystander.txt"
    bystander.write_text("mine")
    witness = Witness(world, task.id)
    try:
        notes = f"seed {episode.seed}"
        accepted, continued = _story(world, client, task, episode, result, notes)
        world.heal()
        done, again = _end(client, task.id, episode)
        continued = continued or again
        with contextlib.suppress(BaseException):
            world.await_well()
        same_key = [client.create_task(body, idempotency_key=key).id for _ in range(2)]
        log = list(client.events(task.id))
        with contextlib.suppress(BaseException):
            wait_until(lambda: witness.caught_up(len(log)), 30, "the stream")
        points = _mlflow(world, client, done, STEPS)
    finally:
        witness.close()
    series = client.metrics(task.id).series
    seen = Seen(
        task=client.task(task.id),
        notes=notes,
        same_key=same_key,
        followed=list(witness.followed),
        log=list(client.events(task.id)),
        spools=world.spools(task.id),
        losses={point.step: point.value for point in series.get("loss", [])},
        eval_losses={point.step: point.value for point in series.get("eval_loss", [])},
        checkpoints=client.checkpoints(task.id),
        mlflow=points,
        stop_accepted=accepted,
        continued=continued,
        suspended=list(world.suspended),
        left_at_end=witness.left_at_end,
        is_well=world.is_well(),
    )
    result.attempts = seen.task.attempt
    result.model_sha256 = model_sha256(seen.task)
    result.broken = violations(seen, reference or Reference.of(seen), episode)
    if bystander.read_text() != "mine":
        result.broken.append("I6: a bystander in the output folder was changed")
    result.seconds = time.monotonic() - begun
    return result, seen


def clear(world: World, task_id: str, seed: int) -> list[str]:
    """Delete a task with its files, as a user does; what is wrong afterwards."""
    client, out = world.client(), world.root / f"out-{seed}"
    artifacts = client.task(task_id).artifact_uri or ""
    client.delete_task(task_id, files=True)
    wrong = []
    if not (out / "bystander.txt").is_file():
        wrong.append("I6: deleting the task removed a bystander")
    if sorted(path.name for path in out.iterdir()) not in ([], ["bystander.txt"]):
        wrong.append(f"I6: deleting the task left {sorted(path.name for path in out.iterdir())}")
    if artifacts and open_storage(artifacts).list(CHECKPOINTS):
        wrong.append(f"I6: deleting the task left `{artifacts}`")
    shutil.rmtree(out)
    return wrong


def stop_all(world: World) -> None:
    """Stop what an episode that could not be told to its end left running: it would hurt the next one."""
    client = world.client()
    for task in list(client.tasks()):
        if not task.state.is_terminal:
            client.stop_task(task.id)
            client.wait(task.id, timeout=_END_SECONDS)


def _body(world: World, episode: Episode) -> NewTrainTask:
    out = world.root / f"out-{episode.seed}"
    out.mkdir(exist_ok=True)
    return NewTrainTask.model_validate(
        {
            "name": f"seed-{episode.seed}",
            "spec": {
                "model_name_or_path": str(world.model),
                "train_file": str(world.rows),
                "eval_file": str(world.eval_rows),
                "output_dir": str(out),
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 1,
                "max_steps": STEPS,
                "save_steps": SAVE_STEPS,
                "eval_strategy": "steps",
                "eval_steps": EVAL_STEPS,
                "logging_steps": 1,
                "learning_rate": 1e-3,
                "lora_dropout": 0.1,
                "gradient_checkpointing": False,
                "save_total_limit": 4,
                "max_restarts": 6,
            },
        }
    )


def _story(
    world: World, client: Client, task: TaskView, episode: Episode, result: Result, notes: str
) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Everything that happens to the task; when a stop was accepted, and when it was continued after it."""
    accepted: dt.datetime | None = None
    continued: dt.datetime | None = None
    has_notes = False
    after = 0
    order = list(Phase)
    cells = list(episode.cells)
    for phase in order:
        due = [cell for cell in cells if cell.phase is phase]
        is_stop = phase is Phase.STOPPING and episode.is_stopped
        if not due and not is_stop:
            continue
        try:
            world.wait_phase(task.id, phase, after, must_live=any(map(ends_attempt, result.hit)))
            if is_stop:
                client.stop_task(task.id)
                accepted = dt.datetime.now(dt.UTC)
            for cell in due:
                _hurt(world, cell, task.id, result, episode.delay)
        except (NotThere, TimeoutError) as error:
            result.missed += [f"{cell}: {error}" for cell in due]
        finally:
            world.let_go()
        if not has_notes and phase is not Phase.QUEUED:
            client.update_task(task.id, notes=notes)
            has_notes = True
        if is_stop and accepted is not None:
            stopped = client.wait(task.id, timeout=_END_SECONDS)
            if stopped.state is State.STOPPED:
                world.heal()
                world.await_well()
                continued = dt.datetime.now(dt.UTC)
                after = stopped.attempt
                client.continue_task(task.id)
    if not has_notes:
        client.update_task(task.id, notes=notes)
    return accepted, continued


def _hurt(world: World, cell: Cell, task_id: str, result: Result, delay: float) -> None:
    try:
        if cell.phase is Phase.STARTING:
            time.sleep(delay)
            world.hurt_starting(cell, task_id)
        else:
            world.hurt(cell, task_id, delay)
    except NotThere as error:
        result.missed.append(f"{cell}: {error}")
        return
    result.hit.append(cell)
    if cell.part is Part.EVERYTHING:
        world.start()


def _end(client: Client, task_id: str, episode: Episode) -> tuple[TaskView, dt.datetime | None]:
    """Its end; where a full disk ended it, the one after its user continued it."""
    done = client.wait(task_id, timeout=_END_SECONDS)
    if not ended_as_it_may(done, episode):
        return done, None
    moment = dt.datetime.now(dt.UTC)
    client.continue_task(task_id)
    return client.wait(task_id, timeout=_END_SECONDS), moment


def _mlflow(world: World, client: Client, done: TaskView, wanted: int) -> list[tuple[int, float]]:
    """Every loss that MLflow holds, once the mirror has come to rest."""
    found: list[tuple[int, float]] = []

    def has_all() -> bool:
        found[:] = _history(world, client, client.task(done.id))
        return len({step for step, _ in found}) >= wanted

    with contextlib.suppress(BaseException):
        wait_until(has_all, _MIRROR_SECONDS, "the mirror", every=0.5)
    return found


def _history(world: World, client: Client, task: TaskView) -> list[tuple[int, float]]:
    query: dict[str, Any] = {"run_id": task.mlflow_run_id, "metric_key": "loss", "max_results": 5000}
    try:
        reply = httpx.get(
            f"{client.system().mlflow_url}/api/2.0/mlflow/metrics/get-history",
            params=query,
            timeout=30,
            headers={"Authorization": f"Bearer {read_secret(world.home.mlflow_token_file)}"},
        )
        return [(int(metric["step"]), metric["value"]) for metric in reply.json().get("metrics", [])]
    except (httpx.HTTPError, ValueError, TunesmithError):
        return []
