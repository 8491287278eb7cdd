"""A whole job on a local Ray against a stand-in for the control plane, its worker killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import training_run as tr
from fake_plane import FakeControlPlane, make_document

from tunesmith.artifacts import faults_of
from tunesmith.lifecycle import State

pytestmark = pytest.mark.slow


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


def start(
    folder: Path,
    plane: FakeControlPlane,
    model: Path,
    patience: dict[str, float] | None = None,
    **more: Any,
) -> subprocess.Popen[bytes]:
    """Start the driver; it starts a Ray of its own."""
    rows = tr.write_rows(folder / "train.jsonl", 24)
    spec = {
        "model_name_or_path": str(model), "train_file": str(rows), "max_steps": 300, "logging_steps": 1,
        "save_steps": 5, "lora_dropout": 0.1, "learning_rate": 1e-2, "gradient_checkpointing": False,
        "target_modules": ["all-linear"], "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "precision": "fp32",
    } | more  # fmt: skip
    places = {"model_path": str(model), "train_path": str(rows)}
    document = make_document(folder, plane.url, spec=spec, **places, **(patience or {}))
    (folder / "job.json").write_text(document.model_dump_json())
    environment = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": "/tmp",
    }
    environment.pop("RAY_ADDRESS", None)
    with (folder / "driver.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tunesmith_jobs.entry", str(folder / "job.json")],
            env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip


def wait_until(condition: Any, driver: subprocess.Popen[bytes], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, f"the driver left with {driver.returncode}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def of_kind(plane: FakeControlPlane, kind: str) -> list[dict[str, Any]]:
    return [e["payload"] for e in list(plane.events.get(1, [])) if e["payload"]["kind"] == kind]


def worker_of(driver: subprocess.Popen[bytes], work_dir: Path) -> psutil.Process:
    """The process that holds the spool open."""
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if any(f.path == str(work_dir / "spool-1.jsonl") for f in process.open_files()):
                return process
        except psutil.Error:
            continue
    raise AssertionError("no worker holds the spool")


def is_frozen(workers: list[dict[str, Any]]) -> bool:
    """Whether the driver found the first worker stopped."""
    return [one["worker"] for one in workers if "stopped by a signal" in one["message"]] == [0]


def leave(driver: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
    if driver.poll() is None:
        driver.kill()
    driver.wait(30)
    for process in family:
        if process.is_running():
            process.kill()


@pytest.mark.parametrize("hit", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_job_survives_its_worker_and_the_curve_is_the_undisturbed_one(
    tmp_path: Path, plane: FakeControlPlane, model: Path, hit: signal.Signals
) -> None:
    """One that is frozen is reported and ended by the driver: Ray waits ten minutes for it."""
    patience = {"silent_seconds": 3.0, "stuck_seconds": 6.0} if hit == signal.SIGSTOP else None
    driver = start(tmp_path, plane, model, patience, max_steps=40)
    try:
        wait_until(lambda: len(of_kind(plane, "checkpoint")) >= 2, driver)
        worker = worker_of(driver, tmp_path / "work")
        worker.send_signal(hit)
        if hit == signal.SIGSTOP:
            # On a machine that has no time for it a sound one may be silent for a moment too.
            wait_until(lambda: any(map(is_frozen, plane.silent)), driver, 60)
            assert worker.is_running()
        assert driver.wait(200) == 0, (tmp_path / "driver.log").read_text()[-3000:]
        assert not worker.is_running()
    finally:
        leave(driver)
    if hit == signal.SIGSTOP:
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
    alone = tmp_path / "alone"
    alone.mkdir()
    given = json.loads((tmp_path / "job.json").read_text())["spec"]
    given |= {"folder": str(alone), "model": str(model), "rows": given.pop("train_file")}
    given.pop("model_name_or_path")
    threads = str(starts[0]["facts"]["threads"])
    subprocess.run(
        [sys.executable, str(Path(tr.__file__)), json.dumps(given)],
        env=os.environ | {"OMP_NUM_THREADS": threads}, check=True, capture_output=True,
    )  # fmt: skip
    assert curve == tr.losses(alone)


@pytest.mark.parametrize("by_user", [True, False], ids=["user", "sigterm"])
def test_a_stop_leaves_a_checkpoint(
    tmp_path: Path, plane: FakeControlPlane, model: Path, by_user: bool
) -> None:
    """The user's, and that of a machine which tells the driver alone to leave."""
    driver = start(tmp_path, plane, model, max_steps=5000, save_steps=1000)
    try:
        wait_until(lambda: len(of_kind(plane, "metrics")) >= 3, driver)
        if by_user:
            plane.desired = "stop"
        else:
            driver.terminate()
        asked = time.monotonic()
        wait_until(lambda: of_kind(plane, "finished"), driver, 20)
        assert time.monotonic() - asked < 10
        assert driver.wait(30) == 0
    finally:
        leave(driver)
    last = of_kind(plane, "finished")[-1]
    assert last["outcome"] == State.STOPPED
    saved = of_kind(plane, "checkpoint")
    assert len(saved) == 1
    assert not faults_of(Path(saved[0]["uri"]))


def test_a_stop_before_the_first_step_ends_quickly(
    tmp_path: Path, plane: FakeControlPlane, model: Path
) -> None:
    plane.desired = "stop"
    driver = start(tmp_path, plane, model)
    try:
        assert driver.wait(60) == 0
    finally:
        leave(driver)
    assert of_kind(plane, "finished")[0]["reason"] == "stopped_by_user"
    assert not of_kind(plane, "training_started")


def test_a_superseded_job_leaves_without_a_word(tmp_path: Path, plane: FakeControlPlane, model: Path) -> None:
    driver = start(tmp_path, plane, model, max_steps=5000, save_steps=1000)
    try:
        wait_until(lambda: len(of_kind(plane, "metrics")) >= 3, driver)
        plane.stale = True
        assert driver.wait(60) == 1
    finally:
        leave(driver)
    assert not of_kind(plane, "finished")
    assert not [path for path in (tmp_path / "artifacts").glob("*") if path.is_dir()], (
        "no checkpoint, no model"
    )
