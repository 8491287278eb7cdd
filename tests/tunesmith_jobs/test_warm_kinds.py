"""What uses a model in a warm runner on a real Ray: begins in the process that waited, is stopped, is lost.

A training goes the same way; that is shown on the whole platform (`tests/e2e`). The control plane is a stand-in.
"""

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
from local_ray import LocalRay
from waiting import wait_until

from tunesmith.job import RunnerDocument
from tunesmith.model_step import ModelDocument
from tunesmith.processes import DONE, ProcessRecord
from tunesmith.spec.kinds import kind_of

pytestmark = pytest.mark.slow


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


class Runner:
    """A warm runner, and the attempt that it is given once it is warm."""

    def __init__(self, folder: Path, plane: FakeControlPlane, ray: LocalRay) -> None:
        self.folder, self.plane, self.given_at = folder, plane, 0.0
        document = RunnerDocument(runner_id="runner-a", api_url=plane.url, token="its own")
        (folder / "runner.json").write_text(document.model_dump_json())
        with (folder / "driver.log").open("wb") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "tunesmith_jobs.warm", str(folder / "runner.json")],
                env=os.environ | ray.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )

    def give(self, kind: str, model: Path, rows: Path, **spec: Any) -> None:
        """Give it an attempt that uses a whole model, once it is warm."""
        assert self.plane.warm.wait(240), self.log
        read = kind_of(kind).spec.read({"model_name_or_path": str(model)} | spec)
        training = read.as_training({}, base=str(model), adapter=None, data=str(rows))  # type: ignore[attr-defined]
        shared = make_document(self.folder, self.plane.url).model_dump()
        more = {
            "kind": kind,
            "spec": read.model_dump(mode="json"),
            "model_uri": str(model),
            "training": training.model_dump(mode="json"),
            "encoder_path": str(model),
            "data_path": str(rows),
            "rows_dir": str(self.folder / "rows"),
            "artifact_uri": str(self.folder / "packaged"),
        }
        document = ModelDocument.model_validate(shared | more)
        (self.folder / "job.json").write_text(document.model_dump_json())
        self.given_at = time.time()
        self.plane.attempt = str(self.folder / "job.json")

    def worker(self) -> ProcessRecord:
        """Who works on it, or did."""
        work = self.folder / "work"
        (file,) = (one for end in (".json", DONE) for one in work.glob(f"process-1-worker-0-*{end}"))
        return ProcessRecord.model_validate_json(file.read_bytes())

    def works(self) -> bool:
        """Whether it has begun with its rows."""
        assert self.driver.poll() is None, self.log
        return any(said["kind"] == "progress" and said["step"] for said in self.said())

    def said(self) -> list[dict[str, Any]]:
        return [event["payload"] for event in list(self.plane.events.get(1, []))]

    def end(self) -> tuple[int, str]:
        """The driver's exit code, and how the attempt ended by its last word."""
        code = self.driver.wait(120)
        (finished,) = [said for said in self.said() if said["kind"] == "finished"]
        return code, finished["reason"]

    @property
    def log(self) -> str:
        return (self.folder / "driver.log").read_text()[-3000:]


@pytest.fixture
def runner(tmp_path: Path, plane: FakeControlPlane, ray_of_jobs: LocalRay) -> Iterator[Runner]:
    made = Runner(tmp_path, plane, ray_of_jobs)
    try:
        yield made
    finally:
        if made.driver.poll() is None:
            made.driver.kill()
        made.driver.wait(30)


def has_waited(runner: Runner) -> bool:
    """Whether who works was there before there was work."""
    began = psutil.boot_time() + runner.worker().ticks / os.sysconf("SC_CLK_TCK")
    return began < runner.given_at - 1


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_packaging_is_done_by_the_process_that_waited(runner: Runner, tiny_model: Path) -> None:
    rows = tr.write_rows(runner.folder / "rows.jsonl", 2)
    runner.give("package", tiny_model, rows)
    assert runner.end() == (0, "completed"), runner.log
    assert has_waited(runner)
    wait_until(lambda: is_gone(runner.worker().pid), 30, "its end")
    phases = [said["phase"] for said in runner.said() if said["kind"] == "phase"]
    assert phases == ["job", "imports", "weights"]


# `user` is long. `test_one_runner` shows that a user's stop is heard while each kind works. That no process of a warm
# runner stays, `test_a_stopped_task_leaves_no_process_and_is_continued_exactly_in_a_new_runner` shows on a platform.
@pytest.mark.parametrize("by", [pytest.param("user", marks=pytest.mark.long), "sigterm"])
def test_an_evaluation_is_stopped_and_leaves_no_process(runner: Runner, tiny_model: Path, by: str) -> None:
    rows = tr.write_rows(runner.folder / "rows.jsonl", 20_000)
    runner.give("evaluate", tiny_model, rows, eval_file=str(rows), per_device_eval_batch_size=1)
    wait_until(runner.works, 120, "its first rows")
    if by == "user":
        runner.plane.desired = "stop"
    else:
        runner.driver.send_signal(signal.SIGTERM)
    assert runner.end() == (0, "stopped_by_user"), runner.log
    assert has_waited(runner)
    wait_until(lambda: is_gone(runner.worker().pid), 30, "its end")


def test_a_generation_whose_worker_is_killed_ends_for_the_platform_to_do_it_again(
    runner: Runner, tiny_model: Path
) -> None:
    rows = tr.write_rows(runner.folder / "rows.jsonl", 2000)
    runner.give("generate", tiny_model, rows, dataset=str(rows), per_device_eval_batch_size=1)
    wait_until(runner.works, 120, "its first answers")
    assert has_waited(runner)
    os.kill(runner.worker().pid, signal.SIGKILL)
    assert runner.end() == (0, "job_lost"), runner.log
