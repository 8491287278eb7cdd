"""A real Ray of two nodes: workers on the other one are seen and ended there, and an evaluation uses both."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plane import make_document
from local_ray import LocalRay
from waiting import wait_until

from tunesmith.processes import pulse_of, record_of_this
from tunesmith_jobs.elsewhere import Elsewhere
from tunesmith_jobs.evaluate.fan import OnRay, spread
from tunesmith_jobs.program import Needs
from tunesmith_jobs.silence import Silence

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_nodes(ray_of_jobs: LocalRay) -> Iterator[None]:
    """Two nodes on this machine, and this process is a driver there."""
    import ray

    with pytest.MonkeyPatch.context() as patch, ray_of_jobs.second_node():
        for name, value in ray_of_jobs.environment.items():
            patch.setenv(name, value)
        ray.init(log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.mark.usefixtures("two_nodes")
def test_a_frozen_worker_on_another_node_is_found_and_ended(tmp_path: Path) -> None:
    document = make_document(tmp_path, "http://127.0.0.1:9", spec={"model": "m", "train_file": "/t"})
    with subprocess.Popen(["sleep", "600"]) as frozen:
        try:
            frozen.send_signal(signal.SIGSTOP)
            wait_until(lambda: (pulse := pulse_of(frozen.pid)) is not None and pulse.state == "T", 10)
            pulse, mine = pulse_of(frozen.pid), record_of_this(1, 0)
            assert pulse is not None
            assert mine is not None
            record = mine.model_copy(update={"pid": frozen.pid, "ticks": pulse.began})
            (tmp_path / "work").mkdir()
            (tmp_path / "work" / record.name).write_text(record.model_dump_json())
            elsewhere = Elsewhere(document)
            assert elsewhere.look(100, here=1) == []
            assert elsewhere._eyes == {}, "nobody is missing"
            assert elsewhere.look(10, here=0) == []
            assert elsewhere._eyes == {}, "it may be about to start"

            def stuck() -> list[Silence]:
                return [one for one in elsewhere.look(10, here=0) if one.still >= 60]

            wait_until(stuck, 120, "the eyes on the other node")
            assert len(elsewhere._eyes) == 1, "on the one node besides this"
            (one,) = stuck()
            assert one.record == record
            assert "kernel" in (elsewhere.end(one.record) or "")
            assert frozen.wait(10) == -signal.SIGKILL
            wait_until(lambda: elsewhere.look(1, here=0) == [], 30, "its absence")
            elsewhere.close()
        finally:
            frozen.kill()


@pytest.mark.usefixtures("two_nodes")
def test_an_evaluation_uses_both_nodes_and_leaves_nothing_there(tmp_path: Path) -> None:
    scratch = tmp_path / "task-0123456789abcdefgh" / "scratch" / "1"

    def work(order: dict[str, Any]) -> str:
        import ray

        (Path(order["scratch"]) / "worker").mkdir(parents=True, exist_ok=True)
        time.sleep(order["seconds"])  # as long as the other node needs to start a worker
        return str(ray.get_runtime_context().get_node_id())

    def orders(count: int) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
        return iter([(n, work, {"scratch": str(scratch), "seconds": 0.5}) for n in range(count)])

    needs = Needs(device="cpu", per_worker={"CPU": 1.0}, is_beside=True)
    fan = OnRay(needs, use_gpu=False, spare_cpus=0)
    assert (fan.cpus, fan.slots) == (1.0, 3)
    found = dict(spread(fan, orders(40), lambda: None))
    assert sorted(found) == list(range(40)), "each piece once"
    assert len(set(found.values())) == 2, "on both nodes"
    assert scratch.is_dir()
    fan.clear(scratch, "task-0123456789abcdefgh")
    assert not (tmp_path / "task-0123456789abcdefgh").exists()


def test_a_cluster_that_is_gone_hides_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is cleared last is cleared on the way out of an attempt, whose own end must be heard."""

    def gone() -> None:
        raise ConnectionError("the cluster is gone")

    monkeypatch.setattr("ray.get_runtime_context", gone)
    OnRay.clear(object.__new__(OnRay), tmp_path, "task-0123456789abcdefgh")
    assert "the cluster is gone" in caplog.text
