"""Whole jobs on one local Ray against a stand-in for the control plane, their workers killed on the way."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import psutil
import pytest
import training_run as tr
from fake_plane import FakeControlPlane, make_document
from local_ray import LocalRay

from tunesmith.artifacts import faults_of
from tunesmith.lifecycle import State

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Callable[[Path, int], dict[int, float]]:
    """The losses of a job's training without Ray, on so many threads."""
    known: dict[int, dict[int, float]] = {}

    def losses(job: Path, threads: int) -> dict[int, float]:
        if threads not in known:
            folder = tmp_path_factory.mktemp("alone")
            given = json.loads((job / "job.json").read_text())["spec"]
            given |= {"folder": str(folder), "model": str(model), "rows": given.pop("train_file")}
            given.pop("model_name_or_path")
            said = folder / "said"
            assert forked.run(tr.main, given, said=said, threads=threads) == 0, said.read_text()[-3000:]
            known[threads] = tr.losses(folder)
        return known[threads]

    return losses


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


@pytest.fixture
def start(
    tmp_path: Path, plane: FakeControlPlane, model: Path, ray_of_jobs: LocalRay
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a job's driver; it is ended at last, and Ray ends its workers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(patience: dict[str, float] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        rows = tr.write_rows(tmp_path / "train.jsonl", 24)
        spec = {
            "model_name_or_path": str(model), "train_file": str(rows), "max_steps": 300, "logging_steps": 1,
            "save_steps": 5, "lora_dropout": 0.1, "learning_rate": 1e-2, "gradient_checkpointing": False,
            "target_modules": ["all-linear"], "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
            "precision": "fp32",
        } | more  # fmt: skip
        places = {"model_path": str(model), "train_path": str(rows)}
        document = make_document(tmp_path, plane.url, spec=spec, **places, **(patience or {}))
        (tmp_path / "job.json").write_text(document.model_dump_json())
        with (tmp_path / "driver.log").open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", "tunesmith_jobs.entry", str(tmp_path / "job.json")],
                env=os.environ | ray_of_jobs.environment, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path,
            )  # fmt: skip
        started.append(driver)
        return driver

    yield start
    for driver in started:
        driver.kill()
        driver.wait(30)


def wait_until(condition: Any, driver: subprocess.Popen[bytes], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None or condition(), f"the driver left with {driver.returncode}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def ended(driver: subprocess.Popen[bytes], seconds: float = 150) -> int:
    """How the driver ended; where it does not, its log says what it waits for."""
    try:
        return driver.wait(seconds)
    except subprocess.TimeoutExpired:
        assert isinstance(driver.args, list)
        log = Path(str(driver.args[-1])).with_name("driver.log")
        pytest.fail("the driver goes on: " + log.read_text()[-5000:])


def of_kind(plane: FakeControlPlane, kind: str) -> list[dict[str, Any]]:
    return [e["payload"] for e in list(plane.events.get(1, [])) if e["payload"]["kind"] == kind]


def worker_of(work_dir: Path) -> psutil.Process:
    """The process that holds the spool open."""
    for process in psutil.process_iter(["cmdline"]):
        if not " ".join(process.info["cmdline"] or ()).startswith("ray::"):
            continue
        try:
            if any(f.path == str(work_dir / "spool-1.jsonl") for f in process.open_files()):
                return process
        except psutil.Error:
            continue
    raise AssertionError("no worker holds the spool")


def is_frozen(workers: list[dict[str, Any]]) -> bool:
    """Whether the driver found the first worker stopped."""
    return [one["worker"] for one in workers if "stopped by a signal" in one["message"]] == [0]


def test_a_job_survives_its_worker_and_the_curve_is_the_undisturbed_one(
    tmp_path: Path,
    plane: FakeControlPlane,
    start: Callable[..., subprocess.Popen[bytes]],
    alone: Callable[[Path, int], dict[int, float]],
) -> None:
    """It is frozen: the driver reports and kills it, as Ray waits ten minutes for it; then all is as after any kill."""
    driver = start({"silent_seconds": 3.0, "stuck_seconds": 6.0}, max_steps=120)
    wait_until(lambda: of_kind(plane, "training_started"), driver)
    # A look at every process takes so long that a fast machine is at its end meanwhile: it comes first.
    worker = worker_of(tmp_path / "work")
    wait_until(lambda: len(of_kind(plane, "checkpoint")) >= 2, driver)
    worker.suspend()
    # On a machine that has no time for it a sound one may be silent for a moment too.
    wait_until(lambda: any(map(is_frozen, plane.silent)), driver, 60)
    assert worker.is_running()
    assert ended(driver, 400) == 0, (tmp_path / "driver.log").read_text()[-3000:]
    assert not worker.is_running()
    assert plane.silent[-1] == []
    assert "worker_ended" in [warning["code"] for warning in of_kind(plane, "warning")]
    (stack,) = [line["message"] for line in of_kind(plane, "log") if "Its stack:" in line["message"]]
    assert "_train_on (tunesmith_jobs/train/core.py" in stack, "whatever it did just then"
    finished = of_kind(plane, "finished")
    assert [(f["outcome"], f["reason"]) for f in finished] == [("completed", "completed")]
    assert not faults_of(Path(finished[0]["model_uri"]))
    starts = of_kind(plane, "training_started")
    assert [s["restart"] for s in starts] == [0, 1]
    assert starts[1]["step"] >= 10
    assert [e["seq"] for e in plane.events[1]] == list(range(1, len(plane.events[1]) + 1))
    phases = {p["phase"] for p in of_kind(plane, "phase")}
    assert phases == {"job", "imports", "data", "weights", "step"}
    curve = {m["step"]: m["values"]["loss"] for m in of_kind(plane, "metrics")}
    assert curve == alone(tmp_path, starts[0]["facts"]["threads"])


def test_a_driver_that_is_told_to_leave_leaves_a_checkpoint(
    plane: FakeControlPlane, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """SIGTERM reaches the driver alone, as on a machine that goes down. A user's stop is seen end to end."""
    driver = start(max_steps=5000, save_steps=1000)
    wait_until(lambda: len(of_kind(plane, "metrics")) >= 3, driver)
    driver.terminate()
    assert ended(driver) == 0
    last = of_kind(plane, "finished")[-1]
    assert last["outcome"] == State.STOPPED
    saved = of_kind(plane, "checkpoint")
    assert [one["step"] for one in saved] == [of_kind(plane, "metrics")[-1]["step"]]
    assert not faults_of(Path(saved[0]["uri"]))


# The two below are long: of each kind, driver and worker in one process, `test_one_runner` shows the same (`..._begins_
# nothing`, `..._leaves_without_a_word`); that a training leaves no trace then, `test_train_resume` does.
@pytest.mark.long
def test_a_stop_before_the_first_step_ends_quickly(
    plane: FakeControlPlane, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    plane.desired = "stop"
    assert ended(start()) == 0
    assert of_kind(plane, "finished")[0]["reason"] == "stopped_by_user"
    assert not of_kind(plane, "training_started")


@pytest.mark.long
def test_a_superseded_job_leaves_without_a_word(
    tmp_path: Path, plane: FakeControlPlane, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    driver = start(max_steps=5000, save_steps=1000)
    wait_until(lambda: len(of_kind(plane, "metrics")) >= 3, driver)
    plane.stale = True
    assert ended(driver) == 1
    assert not of_kind(plane, "finished")
    assert not [path for path in (tmp_path / "artifacts").glob("*") if path.is_dir()], (
        "no checkpoint, no model"
    )
