"""The shell that a platform is started from: its keys reach no worker, and its proxies hear nothing of a task."""

import json
from pathlib import Path

import httpx
import pytest
from recording_proxy import CANARY, RecordingProxy
from short_tasks import submit_short, write_dialogues
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith_platform.embedded.processes import ours

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def printed_by_a_job(home: Home, code: str) -> str:
    """What a Ray job writes; it runs where drivers do."""
    headers = {"Authorization": f"Bearer {read_secret(home.ray_token_file)}"}
    with httpx.Client(
        base_url=home.connection().ray_url or "", headers=headers, timeout=30, trust_env=False
    ) as ray:
        entrypoint = f"python -c '{code}'"
        job = ray.post("/api/jobs/", json={"entrypoint": entrypoint}).json()["submission_id"]

        def is_over() -> bool:
            return str(ray.get(f"/api/jobs/{job}").json()["status"]) in ("SUCCEEDED", "FAILED", "STOPPED")

        wait_until(is_over, 60, "the job")
        return str(ray.get(f"/api/jobs/{job}/logs").json()["logs"])


def test_a_task_starts_and_ends_and_the_proxy_of_the_shell_hears_nothing(
    live_home: Home, shell_proxy: RecordingProxy, tiny_model: Path
) -> None:
    rows = write_dialogues(live_home.root.parent / "shell-rows.jsonl")
    with Client(home=live_home) as client:
        # The other tests of this platform leave many; alone, this one makes one.
        done = next(iter(client.tasks(state=["completed"])), None)
        task = done or submit_short(client, tiny_model, rows, 4, eval_strategy="no")
        done = client.wait(task.id, timeout=180)
        assert done.state is State.COMPLETED, done.message
        wait_until(lambda: client.task(task.id).mlflow_run_id is not None, 60, "the mirror")
        assert all(
            check.status == "ok" for check in client.environment().checks if check.name in ("ray", "mlflow")
        )
    assert shell_proxy.heard == []


def test_a_worker_sees_nothing_of_the_shells_keys(live_home: Home) -> None:
    code = (
        "import json, os, ray; ray.init(log_to_driver=False); "
        "seen = ray.remote(num_cpus=0)(lambda: dict(os.environ)); "
        'print("SEEN", json.dumps([dict(os.environ), ray.get(seen.remote())]))'
    )
    lines = [line for line in printed_by_a_job(live_home, code).splitlines() if line.startswith("SEEN ")]
    for seen in json.loads(lines[0].removeprefix("SEEN ")):
        assert seen["TUNESMITH_HOME"] == str(live_home.root)
        assert CANARY not in seen.values()
        assert not [name for name in seen if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]


def test_no_process_of_the_platform_holds_the_shells_keys(live_home: Home) -> None:
    """Jobs run as the user that the platform runs as, and may read the environment of its processes."""
    looked_at = 0
    for process in ours(live_home):
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        looked_at += 1
        assert CANARY.encode() not in environment, process
    assert looked_at > 5
