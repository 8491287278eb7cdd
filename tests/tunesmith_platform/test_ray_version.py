"""A cluster that runs another Ray than jobs are made for is told so before it gets one."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import Unavailable
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.packages import pinned


class StandIn(http.server.ThreadingHTTPServer):
    """What answers like Ray's dashboard, of any version."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.version: str | None = None
        self.jobs: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: StandIn

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/api/version" and self.server.version is not None:
            self._answer(200, {"ray_version": self.server.version})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.jobs.append(body["submission_id"])
        self._answer(200, {})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def ray() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.shutdown()
    server.server_close()


def submit(ray: StandIn, folder: Path) -> None:
    RayJobs(f"http://127.0.0.1:{ray.server_address[1]}", folder / "none").submit("task-1-1", "/d.json")


def test_the_distribution_names_one_ray() -> None:
    assert pinned("ray").count(".") == 2
    assert pinned("no-such-package") == ""


@pytest.mark.parametrize("version", ["2.9.0", "3.0.0", "1.13.0"])
def test_another_ray_is_refused_by_name_and_gets_no_job(ray: StandIn, version: str, tmp_path: Path) -> None:
    ray.version = version
    with pytest.raises(Unavailable) as refused:
        submit(ray, tmp_path)
    assert version in refused.value.message
    assert pinned("ray") in refused.value.message
    assert f"ray=={pinned('ray')}" in (refused.value.hint or "")
    assert ray.jobs == []


@pytest.mark.parametrize("patch", ["0", "9"])
def test_ours_and_its_patches_get_their_jobs(ray: StandIn, patch: str, tmp_path: Path) -> None:
    ray.version = ".".join([*pinned("ray").split(".")[:2], patch])
    submit(ray, tmp_path)
    assert ray.jobs == ["task-1-1"]


def test_what_says_no_version_is_no_other_one(ray: StandIn, tmp_path: Path) -> None:
    submit(ray, tmp_path)
    assert ray.jobs == ["task-1-1"]
