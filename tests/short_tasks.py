"""Short training tasks on a running platform: their rows, how they are submitted, who trains, what they measured."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.events import TrainingStarted
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith.spec.task import NewTrainTask
from tunesmith.views import TaskView

STEPS = 160
"""Of the tasks that something happens to: enough that there is a middle to be killed in."""
ENDLESS = 100_000
"""Steps that nobody waits for."""
_STEP = re.compile(rb'"kind":"metrics","step":(\d+)')


def write_dialogues(file: Path, count: int = 40) -> Path:
    """Short dialogues."""
    with file.open("w") as out:
        for i in range(count):
            talk = [
                {"role": "user", "content": f"what is {i} plus {i}?"},
                {"role": "assistant", "content": f"it is {i + i}, of course."},
            ]
            out.write(json.dumps({"messages": talk}) + "\n")
    return file


def submit_short(client: Client, model: Path, rows: Path, steps: int, **spec: Any) -> TaskView:
    """Submit a task that takes so many quick steps and saves now and then."""
    base = {
        "model_name_or_path": str(model),
        "train_file": str(rows),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": steps,
        "save_steps": 25,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "lora_dropout": 0.1,
        "gradient_checkpointing": False,
    }
    return client.create_task(NewTrainTask.model_validate({"spec": base | spec}))


def losses(client: Client, task: TaskView) -> dict[int, float]:
    """Step -> loss."""
    return {point.step: point.value for point in client.metrics(task.id).series["loss"]}


def wait_warm(client: Client) -> None:
    """Wait for a warm runner, so that the next task starts in it as a user's does."""
    wait_until(lambda: client.system().warm_runners == 1, 240, "a warm runner", every=0.25)


def wait_step(client: Client, task: TaskView, step: int) -> None:
    """Wait until a task is at a step."""
    wait_until(lambda: client.task(task.id).progress.step >= step, 240, f"step {step}", every=0.1)


def wait_saved(client: Client, task: TaskView) -> None:
    """Wait for the first checkpoint: from then on a run resumes and does not begin again."""
    wait_until(lambda: len(client.checkpoints(task.id)) > 0, 240, "its first checkpoint", every=0.1)


def completed(client: Client, task: TaskView) -> TaskView:
    """Wait until a task has ended, as it was meant to."""
    done = client.wait(task.id, timeout=240)
    assert done.state is State.COMPLETED, done.message
    return done


def stop_all(client: Client) -> None:
    """Stop every task, and wait until all are over."""
    left = [task.id for task in client.tasks() if not task.state.is_terminal]
    for task_id in left:
        client.stop_task(task_id)
    for task_id in left:
        client.wait(task_id, timeout=90)


def starts_of(client: Client, task: TaskView) -> list[TrainingStarted]:
    """Each beginning of the training."""
    payloads = (event.payload for event in client.events(task.id))
    return [payload for payload in payloads if isinstance(payload, TrainingStarted)]


def seconds_of_imports(client: Client, task: TaskView) -> list[float]:
    """One for each start of a worker: next to nothing in a warm runner."""
    events = [event.payload for event in client.events(task.id)]
    return [event.seconds for event in events if event.kind == "phase" and event.phase == "imports"]


def _of_ray() -> Iterator[tuple[psutil.Process, str]]:
    """Ray's workers and the drivers, by what they call themselves: the files of these alone are looked at."""
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if words.startswith("ray::") or "tunesmith_jobs" in words:
            yield process, words


def find_trainer(task_id: str) -> psutil.Process | None:
    """The worker process that trains, while there is one: it holds the attempt's spool open."""
    for process, words in _of_ray():
        if not words.startswith("ray::"):
            continue
        try:
            if any(task_id in file.path and "spool" in file.path for file in process.open_files()):
                return process
        except psutil.Error:
            continue
    return None


@contextlib.contextmanager
def held(
    home: Home, task: TaskView, moment: Callable[[bytes], bool], attempt: int = 1
) -> Iterator[psutil.Process]:
    """The worker that trains, held still from a moment on until the block ends.

    A hundred of these steps are over in the time that the API and a look at every process take on a busy machine. So
    the worker is looked for while it loads, and its steps are read where it writes them down itself.

    Args:
        home: Of the platform.
        task: Whose worker.
        moment: Says of what the attempt wrote down whether it is there: `at_step(20)`, `has_saved`.
        attempt: In which attempt of the task.
    """
    spool = home.work / task.id / f"spool-{attempt}.jsonl"
    wait_until(spool.exists, 240, f"attempt {attempt}", every=0.01)
    deadline = time.monotonic() + 240
    while (trainer := find_trainer(task.id)) is None:
        assert time.monotonic() < deadline, "nobody trains"
    wait_until(lambda: moment(spool.read_bytes()), 240, "the moment", every=0.002)
    trainer.suspend()
    try:
        yield trainer
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            trainer.resume()


def at_step(step: int) -> Callable[[bytes], bool]:
    """The moment at which a step is over, and at most a few more are."""
    return lambda spool: any(int(found) >= step for found in _STEP.findall(spool))


def has_saved(spool: bytes) -> bool:
    """The moment at which there is a checkpoint."""
    return b'"kind":"checkpoint"' in spool


def trainer_of(task_id: str) -> psutil.Process:
    """The worker process that trains."""
    found = find_trainer(task_id)
    assert found is not None, "nobody trains"
    return found


def job_processes(task_id: str) -> list[psutil.Process]:
    """Every process of a task: its driver, and the workers that hold its files open or carry its name."""
    found = []
    for process, words in _of_ray():
        try:
            if task_id in words or any(task_id in file.path for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def mlflow_points(home: Home, client: Client, task: TaskView, name: str = "loss") -> list[tuple[int, float]]:
    """A metric's whole history in MLflow."""
    reply = httpx.get(
        f"{client.system().mlflow_url}/api/2.0/mlflow/metrics/get-history",
        params={"run_id": client.task(task.id).mlflow_run_id, "metric_key": name, "max_results": 5000},
        headers={"Authorization": f"Bearer {read_secret(home.mlflow_token_file)}"},
        trust_env=False,
    )
    return [(int(metric["step"]), metric["value"]) for metric in reply.json().get("metrics", [])]


def wait_mirrored(home: Home, client: Client, task: TaskView, losses: dict[int, float]) -> None:
    """Wait until MLflow has each loss of a task; it holds each once."""
    wait_until(lambda: len(mlflow_points(home, client, task)) >= len(losses), 90, "the mirror", every=0.5)
    assert sorted(mlflow_points(home, client, task)) == sorted(losses.items())


def spool_points(home: Home, task: TaskView, name: str = "loss") -> list[tuple[int, float]]:
    """What the job itself wrote down."""
    points = []
    for line in (home.work / task.id / "spool-1.jsonl").read_text().splitlines():
        payload = json.loads(line)["payload"]
        if payload["kind"] == "metrics" and name in payload["values"]:
            points.append((payload["step"], payload["values"][name]))
    return points
