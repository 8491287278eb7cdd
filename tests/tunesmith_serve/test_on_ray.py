"""A served model on a real Ray: deployed by its driver, asked over HTTP, and gone with its task.

The control plane is a stand-in; the engine, the model and Ray Serve are real.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from asked import served
from fake_plane import SECRET, FakeControlPlane, make_document
from local_ray import LocalRay
from waiting import free_port, wait_until

from tunesmith.chat.document import ChatDocument
from tunesmith.chat.wire import LINE, TOKEN_HEADER, Ask, End, Piece, ServedModel
from tunesmith.job import report_token, serve_token

pytestmark = pytest.mark.slow
TASK = "task-01k9chatchatchatch"


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    server = FakeControlPlane()
    yield server
    server.close()


class Attempts:
    """The attempts of one chat, each with a driver of its own."""

    def __init__(self, folder: Path, base: Path, plane: FakeControlPlane, ray: LocalRay) -> None:
        self.folder, self.base, self.plane, self.ray = folder, base, plane, ray
        self.port = free_port()
        self.drivers: list[subprocess.Popen[bytes]] = []

    def start(self, attempt: int) -> ChatDocument:
        spec = {
            "model_name_or_path": str(self.base), "resources_per_worker": {"CPU": 1}, "context_length": 256,
            "max_running": 2,
        }  # fmt: skip
        more = {
            "kind": "chat", "task_id": TASK, "spec": spec, "model_uri": str(self.base),
            "training": served(self.base).training, "encoder_path": str(self.base), "serve_port": self.port,
            "cache_dir": str(self.folder / "cache"), "token": report_token(SECRET, TASK, attempt),
            "work_dir": str(self.folder / TASK), "first": served(self.base).model_dump(),
        }  # fmt: skip
        shared = make_document(self.folder, self.plane.url, attempt).model_dump()
        document = ChatDocument.model_validate(shared | more)
        file = self.folder / f"attempt-{attempt}.json"
        file.write_text(document.model_dump_json())
        with (self.folder / f"driver-{attempt}.log").open("wb") as log:
            self.drivers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tunesmith_jobs.entry", str(file)],
                    env=os.environ | self.ray.environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                )
            )
        wait_until(lambda: "ready" in self.states(attempt), 120, "the model")
        return document

    def said(self, attempt: int) -> list[dict[str, Any]]:
        return [event["payload"] for event in self.plane.events.get(attempt, [])]

    def states(self, attempt: int) -> list[str]:
        return [one["state"] for one in self.said(attempt) if one["kind"] == "serving"]

    def ask(
        self, document: ChatDocument, model: ServedModel, token: str | None, tokens: int = 12
    ) -> httpx.Response:
        question = Ask.model_validate(
            {
                "id": "q",
                "model": model.model_dump(),
                "messages": [{"role": "user", "content": "What is it?"}],
                "sampling": {"max_new_tokens": tokens, "temperature": 0, "seed": 1},
            }
        )
        return httpx.post(
            f"http://127.0.0.1:{self.port}{document.route}/ask",
            content=question.model_dump_json(),
            headers={} if token is None else {TOKEN_HEADER: token},
            timeout=60,
        )

    def answer(self, document: ChatDocument, model: ServedModel) -> tuple[str, End]:
        reply = self.ask(document, model, serve_token(document.token))
        assert reply.status_code == 200, reply.text
        lines = [LINE.validate_json(line) for line in reply.iter_lines()]
        assert isinstance(lines[-1], End)
        return "".join(line.text for line in lines if isinstance(line, Piece)), lines[-1]

    def replicas(self) -> list[str]:
        return [word for word in running("ray::ServeReplica:") if TASK in word]


def running(word: str) -> list[str]:
    """The command lines that begin with a word."""
    lines = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [line.strip() for line in lines if line.startswith(word)]


@pytest.fixture
def attempts(
    tmp_path: Path, chatty: Path, plane: FakeControlPlane, ray_of_jobs: LocalRay
) -> Iterator[Attempts]:
    found = Attempts(tmp_path, chatty, plane, ray_of_jobs)
    yield found
    plane.desired = "stop"
    for driver in found.drivers:
        try:
            driver.wait(60)
        finally:
            driver.kill()


def test_a_model_is_served_from_its_task_until_that_is_stopped(
    attempts: Attempts, plane: FakeControlPlane
) -> None:
    base, one = served(attempts.base), served(attempts.base, "one")
    first = attempts.start(1)
    refused = attempts.ask(first, base, None)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    of_base, end = attempts.answer(first, base)
    assert end.finish_reason in ("stop", "length")
    of_one, _ = attempts.answer(first, one)
    assert of_one != of_base
    assert attempts.answer(first, base)[0] == of_base
    long = attempts.ask(first, base, serve_token(first.token), 4000)
    assert (long.status_code, long.json()["code"]) == (400, "context_length_exceeded")
    wait_until(lambda: attempts.states(1).count("loaded") == 2, 20, "both are told of")
    loaded = [event for event in attempts.said(1) if event.get("state") == "loaded"]
    assert [event["model"] for event in loaded] == ["base", "one"]
    assert all(event["bytes"] > 0 and event["seconds"] >= 0 for event in loaded)

    os.kill(attempts.drivers[0].pid, signal.SIGKILL)
    attempts.drivers[0].wait(10)
    second = attempts.start(2)
    assert attempts.answer(second, base)[0] == of_base
    wait_until(lambda: len(attempts.replicas()) == 1, 30, "the first attempt's replica to go")
    assert second.application in attempts.replicas()[0]
    assert attempts.ask(first, base, serve_token(first.token)).status_code == 404
    assert attempts.ask(second, base, serve_token(first.token)).status_code == 401

    plane.desired = "stop"
    assert attempts.drivers[1].wait(30) == 0
    assert attempts.said(2)[-1]["reason"] == "stopped_by_user"
    assert attempts.replicas() == []
    with pytest.raises(httpx.ConnectError):  # it was the last one: Ray Serve itself has ended
        attempts.ask(second, base, None)
