"""A job is over when its processes are gone; those of Ray Serve, which it started for others too, are not its own."""

from pathlib import Path

import httpx
import pytest

from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.backends.ray_jobs import RayJobs

OF_SERVE = ["ServeController", "ProxyActor", "ServeReplica:chat-task-2-1:model"]


@pytest.mark.parametrize(
    ("actors", "status"),
    [
        ([], JobStatus.SUCCEEDED),
        (OF_SERVE, JobStatus.SUCCEEDED),
        (["TrainController"], JobStatus.RUNNING),
        ([*OF_SERVE, "RayTrainWorker"], JobStatus.RUNNING),
    ],
)
def test_a_job_leaves_with_its_own_actors(
    actors: list[str], status: JobStatus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v0/actors":
            return httpx.Response(
                200, json={"data": {"result": {"result": [{"class_name": name} for name in actors]}}}
            )
        return httpx.Response(200, json={"status": "SUCCEEDED", "message": "", "job_id": "01000000"})

    jobs = RayJobs("http://ray.example", tmp_path / "none")
    monkeypatch.setattr(
        jobs, "_client", httpx.Client(base_url="http://ray.example", transport=httpx.MockTransport(answer))
    )
    assert jobs.observe("task-1").status is status
