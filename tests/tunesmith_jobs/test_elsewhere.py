"""Workers on another node of a real Ray: seen and ended there, and nobody is started where none is missing."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plane import make_document
from waiting import wait_until

from tunesmith.processes import pulse_of, record_of_this
from tunesmith_jobs.elsewhere import Elsewhere
from tunesmith_jobs.silence import Silence

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, log_to_driver=False)
            yield ray
        finally:
            ray.shutdown()
            cluster.shutdown()


def test_a_frozen_worker_on_another_node_is_found_and_ended(tmp_path: Path, cluster: Any) -> None:
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
