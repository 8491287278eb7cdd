"""A chat whose job is lost is begun again only where somebody waits for it; what is pinned or was asked is loaded."""

import datetime as dt
from collections.abc import Iterator

import pytest
from chat_bench import ChatBench, chatting, checkpoint
from conftest_platform import LOCAL

from tunesmith.chat.document import ChatDocument
from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.chats import repository
from tunesmith_platform.chats.names import base_key
from tunesmith_platform.clock import now
from tunesmith_platform.tasks import repository as tasks


@pytest.fixture
def bench(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatBench]:
    with chatting(home, monkeypatch) as made:
        yield made


def ask_last(bench: ChatBench, seconds: float) -> None:
    """It was asked so long ago."""
    with bench.plane.services.database.write() as session:
        row = repository.find(session, LOCAL, base_key(bench.base), locked=True)
        assert row is not None
        row.asked_at = now() - dt.timedelta(seconds=seconds)


def lose(bench: ChatBench, task: TaskView) -> TaskView:
    """Its job is gone, as after `tunesmith down` and `up`."""
    bench.plane.job(task, JobStatus.FAILED)
    bench.plane.tick()
    return bench.plane.task(task.id)


def test_nobody_waits_for_it(bench: ChatBench) -> None:
    task = bench.serve()
    ask_last(bench, 60)
    lost = lose(bench, task)
    assert lost.state is State.COMPLETED
    assert "nobody waits for it" in lost.message
    with Client() as client:
        assert client.chats.served()[0].state == "ended"
    bench.plane.tick()
    assert len(bench.chats()) == 1
    place = bench.plane.services.asking._chats.place(LOCAL, bench.base)
    assert place.task_id != task.id, "the next question begins another"


def test_somebody_waits_for_it(bench: ChatBench) -> None:
    task = bench.serve()
    ask_last(bench, 20)
    assert lose(bench, task).state is State.PENDING


def test_what_its_user_started_goes_on(bench: ChatBench) -> None:
    from tunesmith.spec.chat import new_chat
    from tunesmith.spec.task import new_task

    body = new_chat({"model_name_or_path": bench.base})
    new = new_task(str(body.pop("kind")), body.pop("spec"), body)
    task, _ = bench.plane.services.tasks.create(LOCAL, new, None)
    bench.ready(task)
    assert lose(bench, task).state is State.PENDING


def test_pinned_adapters_outlive_the_job(bench: ChatBench) -> None:
    training = bench.plane.running(name="sft")
    for step in (20, 40):
        checkpoint(bench.plane, training, step)
    task = bench.serve()
    with Client() as client:
        for name in ("sft:20", "sft:40", "sft:20"):
            client.chats.pin(name)
        ask_last(bench, 600)
        assert lose(bench, task).state is State.PENDING, "it is loaded again"
        names = [one.name for one in following(bench, task, 2).pinned]
        assert names == ["sft:40", "sft:20"]
        for name in ("sft:20", "sft:40"):
            client.chats.unpin(name)
    ask_last(bench, 600)
    bench.plane.job(bench.plane.task(task.id), JobStatus.FAILED, 2)
    bench.plane.tick()
    assert bench.plane.task(task.id).state is State.COMPLETED


def following(bench: ChatBench, task: TaskView, attempt: int) -> ChatDocument:
    """What its next attempt was handed, which need not wait."""
    with bench.plane.services.database.write() as session:
        row = tasks.known(session, LOCAL, task.id, locked=True)
        assert row is not None
        row.retry_at = now() - dt.timedelta(seconds=1)
    bench.ready(task, attempt)
    return bench.document(task.id, attempt)


def test_what_was_asked_is_loaded_with_the_base(bench: ChatBench) -> None:
    training = bench.plane.running(name="sft")
    checkpoint(bench.plane, training, 20)
    _, model = bench.plane.services.asking._names.find(LOCAL, "sft:20")
    place = bench.plane.services.asking._chats.place(LOCAL, bench.base, model)
    task = bench.plane.task(place.task_id)
    bench.ready(task)
    assert bench.document(task.id).first == model
    bench.plane.services.tasks.stop(LOCAL, task.id)
    bench.plane.job(task, JobStatus.STOPPED)
    bench.plane.tick()
    again = bench.serve()
    assert bench.document(again.id).first is None, "nobody said which"
