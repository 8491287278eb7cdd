"""A platform with a model that answers: a stand-in, over real HTTP, through the official client. No test itself."""

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import folder
from given import MODEL
from openai import OpenAI
from served import served
from stand_in_replica import StandIn, hello, standing_in
from waiting import wait_until

from tunesmith.chat.document import ChatDocument
from tunesmith.home import Home
from tunesmith.job import serve_token
from tunesmith.lifecycle import State
from tunesmith.storage import open_storage
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus


class ChatBench:
    """The platform, the stand-in, and the steps that tests take."""

    def __init__(self, plane: Plane, replica: StandIn, url: str) -> None:
        self.plane, self.replica, self.url = plane, replica, url
        registered = plane.services.models.find(LOCAL, "smol")
        assert registered is not None
        self.base = str(registered)

    def client(self, **options: Any) -> OpenAI:
        """The official client."""
        options = {"api_key": self.plane.api_key, "max_retries": 0, "timeout": 20} | options
        return OpenAI(base_url=f"{self.url}/openai/v1", **options)

    def document(self, task_id: str, attempt: int = 1) -> ChatDocument:
        """What an attempt was handed."""
        uri = self.plane.jobs.documents[f"{task_id}-{attempt}"]
        folder, _, name = uri.rpartition("/")
        return ChatDocument.model_validate_json(open_storage(folder).read(name) or b"")

    def ready(self, task: TaskView, attempt: int = 1) -> None:
        """The task's job has deployed the model: it answers from now on."""
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING, attempt)
        self.plane.tick()
        self.replica.token = serve_token(self.document(task.id, attempt).token)
        self.plane.report(task, {"kind": "serving", "state": "ready"}, attempt=attempt)

    def serve(self, base: str | None = None) -> TaskView:
        """Have a base served."""
        service = self.plane.services.asking._chats
        task = self.plane.task(service.place(LOCAL, base or self.base).task_id)
        self.ready(task)
        return task

    @contextlib.contextmanager
    def cluster(self) -> Iterator[None]:
        """Ray, which deploys whatever is submitted, while the block goes on."""
        is_over = threading.Event()

        def look() -> None:
            done: set[str] = set()
            while not is_over.wait(0.02):
                self.plane.tick()
                for task in self.chats():
                    job = f"{task.id}-{task.attempt}"
                    if task.state is State.PENDING and job in self.plane.jobs.jobs and job not in done:
                        done.add(job)
                        self.ready(task, task.attempt)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(timeout=10)

    def chats(self) -> list[TaskView]:
        """The tasks that serve models."""
        reply = self.plane.services.tasks.page(LOCAL, _every())
        return [task for task in reply.data if task.kind == "chat"]

    def idle(self) -> None:
        """Wait until nothing is answered any more."""
        wait_until(lambda: self.replica.running == 0, 10, "the end of all answers")
        wait_until(lambda: self.plane.services.asking.turns.running == 0, 10, "the end of all turns")


def _every() -> Any:
    from tunesmith_platform.tasks.repository import Filter

    return Filter()


def checkpoint(plane: Plane, task: TaskView, step: int, **marks: bool) -> Path:
    """A checkpoint with a print of its own."""
    path = folder(plane, task, f"checkpoints/checkpoint-{step}")
    event = {"kind": "checkpoint", "step": step, "uri": str(path), "bytes": 1, "files": 1, **marks}
    plane.report(task, event | {"manifest_sha256": f"{step:064x}"})
    return path


class Keyboard(io.StringIO):
    """A terminal at which somebody writes these lines."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard("".join(line + "\n" for line in lines)))


@pytest.fixture(scope="module")
def served_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatBench]:
    """One platform for a module's tests, with `smol` served; a module that needs more in it makes it on top of this."""
    home = Home(tmp_path_factory.mktemp("chat") / "home")
    home.create()
    with pytest.MonkeyPatch.context() as monkeypatch, chatting(home, monkeypatch) as made:
        made.serve()
        yield made


@pytest.fixture
def bench(served_bench: ChatBench) -> Iterator[ChatBench]:
    """The module's platform for one test, which says what the model says; nothing is answered any more at its end."""
    served_bench.replica.script = hello
    served_bench.replica.asked.clear()
    yield served_bench
    served_bench.idle()


@contextlib.contextmanager
def chatting(home: Home, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[ChatBench]:
    """A platform in which `smol` may be asked, and a stand-in that answers, until the end of the block."""
    with standing_in() as replica:
        plane = Plane(home, serve_port=replica.port, **settings)
        plane.services.models.register(LOCAL, _new_model())
        with served(plane.app, plane.api_key, monkeypatch) as url:
            yield ChatBench(plane, replica, url)


def _new_model() -> Any:
    from tunesmith_platform.models.service import NewModel

    return NewModel(source=MODEL, name="smol")


def raw(bench: ChatBench, body: dict[str, Any], path: str = "chat/completions") -> httpx.Response:
    """What the API answers to a body, without any client's reading."""
    headers = {"Authorization": f"Bearer {bench.plane.api_key}"}
    return httpx.post(
        f"{bench.url}/openai/v1/{path}", json=body, headers=headers, timeout=20, trust_env=False
    )
