"""What a model is called, which task serves it, and what happens while none does."""

import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from chat_bench import ChatBench, chatting, checkpoint
from conftest_platform import LOCAL, Plane
from ended_tasks import end as ended_by
from ended_tasks import folder
from given import MODEL
from stand_in_replica import end, hello, piece
from waiting import wait_until

from tunesmith.artifacts import Manifest, list_files
from tunesmith.chat.wire import Ask
from tunesmith.client import Client
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.chats.names import Names
from tunesmith_platform.models.service import NewModel
from tunesmith_platform.tasks.service import TaskChange

ASKED: Any = [{"role": "user", "content": "?"}]


# --- names


@pytest.fixture
def names(plane: Plane) -> Names:
    plane.services.models.register(LOCAL, NewModel(source=MODEL, name="smol"))
    return Names(plane.services.database, plane.settings, plane.services.models)


def recommend(plane: Plane, task: TaskView, step: int | None) -> None:
    from tunesmith_platform.checkpoints import repository

    with plane.services.database.write() as session:
        repository.recommend(session, LOCAL, task.id, step)


def test_a_base_is_called_by_its_name(names: Names) -> None:
    weights, served = names.find(LOCAL, "smol")
    assert (weights.name, weights.task_id, served.is_adapter) == ("smol", None, False)
    assert served.base_path == served.model_uri == served.encoder_path == str(Path(MODEL).resolve())
    assert served.weights == names.find(LOCAL, "smol")[1].weights
    assert served.training["use_lora"] is False


def test_a_training_is_its_best_answer_and_each_of_its_checkpoints(plane: Plane, names: Names) -> None:
    task = plane.running(name="sft: 中文")
    with pytest.raises(NotFound, match="no model yet"):
        names.look_up(LOCAL, "sft: 中文")
    for step in (20, 40):
        checkpoint(plane, task, step)
    found = names.look_up(LOCAL, "sft: 中文")
    assert (found.name, found.step, found.why) == ("sft: 中文:40", 40, "latest")
    weights, served = names.find(LOCAL, "sft: 中文:20")
    assert (weights.step, weights.why, served.weights, served.is_adapter) == (20, "", f"{20:064x}", True)
    assert served.base_path == str(Path(MODEL).resolve())
    assert names.look_up(LOCAL, f"{task.id}:20")[1:5] == weights[1:5]
    recommend(plane, task, 20)
    found = names.look_up(LOCAL, "sft: 中文")
    assert (found.step, found.why) == (20, "recommended")
    assert names.look_up(LOCAL, "sft: 中文:latest").step == 40
    checkpoint(plane, task, 60)  # it follows the training
    assert names.look_up(LOCAL, "sft: 中文:latest").step == 60
    for missing in ("sft: 中文:30", "sft: 中文:final", "sft: 中文:best", "sft: 中文:"):
        with pytest.raises(NotFound):
            names.look_up(LOCAL, missing)


def test_a_final_model_is_told_by_its_manifest(plane: Plane, names: Names) -> None:
    task = plane.running(name="sft")
    checkpoint(plane, task, 10)
    model = folder(plane, task, "model")
    ended_by(plane, task, Reason.COMPLETED, model_uri=str(model))
    found = names.look_up(LOCAL, "sft")
    assert (found.name, found.uri, found.step, found.why) == ("sft:final", str(model), None, "final")
    assert found.weights == names.look_up(LOCAL, "sft:final").weights
    assert len(found.weights) == 64
    assert names.look_up(LOCAL, "sft:latest").step == 10
    _, served = names.find(LOCAL, "sft:final")
    assert (served.model_uri, served.is_adapter) == (str(model), True)


def test_a_final_model_holds_what_its_last_checkpoint_does(plane: Plane, names: Names) -> None:
    """They have manifests of their own, and are one model in a comparison."""
    task = plane.running(name="sft")
    places = [checkpoint(plane, task, step) for step in (10, 20)] + [folder(plane, task, "model")]
    for place, bytes_ in zip(places, (b"early", b"last", b"last"), strict=True):
        (place / "adapter_model.safetensors").write_bytes(bytes_)
        if place is not places[2]:
            (place / "optimizer.safetensors").write_bytes(b"state")
        manifest = Manifest(task_id=task.id, attempt=1, step=1, files=list_files(place))
        (place / "manifest.json").write_bytes(manifest.encode())
    ended_by(plane, task, Reason.COMPLETED, model_uri=str(places[2]))
    found = {name: names.look_up(LOCAL, f"sft:{name}") for name in ("10", "20", "final")}
    assert len({one.weights for one in found.values()}) == 3
    held = {name: names.content(one) for name, one in found.items()}
    assert held["20"] == held["final"] != held["10"]


def test_a_name_of_two_is_refused(plane: Plane, names: Names) -> None:
    first, second = plane.running(name="twice"), plane.submit(name="twice")
    with pytest.raises(InvalidInput) as found:
        names.look_up(LOCAL, "twice:latest")
    assert first.id in str(found.value.hint)
    assert second.id in str(found.value.hint)
    checkpoint(plane, first, 5)
    assert names.look_up(LOCAL, first.id).step == 5
    plane.services.tasks.change(LOCAL, first.id, TaskChange(name="smol"))
    with pytest.raises(InvalidInput, match="base model's name and a task's"):
        names.look_up(LOCAL, "smol")


@pytest.mark.parametrize(
    "name", ["", "nothing", "smol:40", "../etc", "a\x00b", "x" * 1000, "task-x", ":", ":5"]
)
def test_what_is_called_nothing_is_not_found(names: Names, name: str) -> None:
    with pytest.raises(NotFound) as found:
        names.look_up(LOCAL, name)
    assert found.value.problems[0].field == "model"


def test_the_list_has_every_name_that_can_be_asked(plane: Plane, names: Names) -> None:
    plane.settings.max_concurrent_jobs = 3
    task, twin, other = plane.running(name="sft"), plane.submit(name="twin"), plane.running(name="twin")
    for one in (task, other):
        checkpoint(plane, one, 5)
    found = [one.name for one in names.list(LOCAL)]
    assert found[0] == "smol"
    assert set(found[1:]) == {"sft", "sft:5", other.id, f"{other.id}:5"}
    for name in found:
        assert names.look_up(LOCAL, name)
    assert twin.id not in found


# --- who serves it


@pytest.fixture
def bench(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatBench]:
    with chatting(home, monkeypatch, chat_start_seconds=20) as made:
        yield made


def test_the_first_question_begins_the_task_and_waits(bench: ChatBench) -> None:
    """Several at once, of the base and of its adapters, are served by one task."""
    task = bench.plane.running(name="sft")
    checkpoint(bench.plane, task, 5)
    client, found = bench.client(), []

    def ask(model: str) -> None:
        stream = client.chat.completions.create(model=model, messages=ASKED, stream=True)
        found.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))

    threads = [threading.Thread(target=ask, args=(model,)) for model in ("smol", "sft", "sft:5", "smol")]
    with bench.cluster():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert found == ["Hello world"] * 4
    (serving,) = bench.chats()
    assert serving.name == f"chat_{Path(bench.base).name}"
    document = bench.document(serving.id)
    assert (document.model_uri, document.serve_port) == (bench.base, bench.replica.port)
    assert document.spec["model_name_or_path"] == bench.base
    assert {one.model.weights for one in bench.replica.asked} >= {f"{5:064x}"}
    (view,) = bench.plane.services.asking._chats.list(LOCAL)
    assert (view.state, view.task_id) == ("ready", serving.id)


def test_a_task_says_what_it_serves(bench: ChatBench) -> None:
    task = bench.serve()
    said = []

    def say(state: str, **more: Any) -> None:
        bench.plane.report(task, {"kind": "serving", "state": state} | more)
        seen = bench.plane.task(task.id).message
        wait_until(lambda: listed() == seen, what="a list says the same")
        said.append(seen)

    def listed() -> str | None:
        with Client() as client:
            (line,) = [one for one in next(iter(client.monitoring.tasks())).tasks if one.id == task.id]
        return line.message

    said.append(bench.plane.task(task.id).message)
    say("loaded", model="smol", bytes=1)
    say("loaded", model="sft:5", bytes=1)
    say("unloaded", model="smol")
    for number in range(5):
        say("loaded", model=f"a{number}", bytes=1)
    say("failed")
    say("idle")
    say("deploying")
    assert said[:4] == [
        "Ready for questions.", "Answers for `smol`.", "Answers for `smol`, `sft:5`.", "Answers for `sft:5`."
    ]  # fmt: skip
    assert said[-4:] == [
        "Answers for `sft:5`, `a0`, `a1`, `a2` (+2).", "The model does not answer.",
        "It is in no memory; the next question starts it.", "It is starting.",
    ]  # fmt: skip
    ended_by(bench.plane, task, Reason.STOPPED_BY_USER)
    assert bench.plane.task(task.id).message not in said


def test_who_waits_too_long_is_told_to_come_again(bench: ChatBench) -> None:
    bench.plane.settings.chat_start_seconds = 0.5
    client = bench.client()
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as found:
            list(client.chat.completions.create(model="smol", messages=ASKED, stream=stream))
        assert (found.value.status_code, found.value.code) == (503, "model_loading")
        assert found.value.response.headers["retry-after"] == "5"
    assert len(bench.chats()) == 1
    bench.plane.settings.chat_start_seconds = 3
    said = []
    with client.chat.completions.with_streaming_response.create(
        model="smol", messages=ASKED, stream=True
    ) as reply:
        said = list(reply.iter_lines())  # it has begun before it was known how it ends
    assert said[0].startswith(": ")
    assert '"code":"model_loading"' in "".join(said)


def test_a_task_that_failed_says_why_and_is_replaced(bench: ChatBench) -> None:
    first = bench.serve()
    ended_by(bench.plane, first, Reason.OUT_OF_MEMORY, message="It needs 9 GB, and 2 are free.")
    client = bench.client()
    with pytest.raises(openai.InternalServerError, match="It needs 9 GB"):
        client.chat.completions.create(model="smol", messages=ASKED)
    assert len(bench.chats()) == 1
    with bench.plane.services.database.write() as session:  # a while ago
        from tunesmith_platform.db.tables import TaskRow

        row = session.get(TaskRow, first.id)
        assert row is not None
        row.ended_at = row.created_at.replace(year=2025)
    with bench.cluster():
        assert client.chat.completions.create(model="smol", messages=ASKED).choices[0].message.content
    assert len(bench.chats()) == 2


def test_a_stopped_task_is_replaced_by_the_next_question(bench: ChatBench) -> None:
    first = bench.serve()
    bench.plane.services.tasks.stop(LOCAL, first.id)
    with bench.cluster():
        bench.client().chat.completions.create(model="smol", messages=ASKED)
    assert {task.id for task in bench.chats()} > {first.id}
    ended_by(bench.plane, first, Reason.STOPPED_BY_USER)
    with bench.cluster():
        bench.client().chat.completions.create(model="smol", messages=ASKED)
    bench.plane.services.tasks.delete(LOCAL, first.id, with_files=True)
    assert len(bench.chats()) == 1


def test_another_attempt_is_asked_once_it_answers(bench: ChatBench) -> None:
    task = bench.serve()
    bench.plane.job(task, JobStatus.FAILED)
    bench.plane.tick()
    assert bench.plane.task(task.id).state == State.PENDING
    place = bench.plane.services.asking._chats.place(LOCAL, bench.base)
    assert (place.task_id, place.url) == (task.id, None)
    assert "Starting again" in place.words


def test_a_replica_that_is_not_there_yet_is_asked_again(bench: ChatBench) -> None:
    """Ray Serve's proxy answers in its place, or nobody does: nothing was computed, and who asks need not know."""
    bench.serve()
    calls = []

    async def late(ask: Ask) -> AsyncIterator[Any]:
        calls.append(ask)
        if len(calls) < 3:
            raise ConnectionResetError
        async for line in hello(ask):
            yield line

    bench.replica.script = late
    made = bench.client().chat.completions.create(model="smol", messages=ASKED)
    assert (made.choices[0].message.content, len(calls)) == ("Hello world", 3)


def test_an_idle_one_makes_room_for_another(bench: ChatBench) -> None:
    bench.plane.settings.max_chat_jobs = 1
    first = bench.serve()
    bench.plane.report(first, {"kind": "serving", "state": "idle"})
    asking = bench.plane.services.asking
    second = asking._chats.place(LOCAL, str(_other_base(bench)))
    bench.plane.tick()
    assert asking._chats.make_room(LOCAL, second.task_id)
    assert bench.plane.task(first.id).state == State.STOPPING
    assert not asking._chats.make_room(LOCAL, second.task_id)  # nothing else is idle


def _other_base(bench: ChatBench) -> Path:
    import shutil

    other = Path(bench.plane.settings.models_dir) / "other"
    shutil.copytree(MODEL, other)
    bench.plane.services.models.page(LOCAL)
    return other.resolve()


def test_verbs_reach_the_replica_that_serves(bench: ChatBench) -> None:
    asking = bench.plane.services.asking
    headers = {"Authorization": f"Bearer {bench.plane.api_key}"}
    import httpx

    def verb(path: str, model: str = "smol") -> httpx.Response:
        return httpx.post(
            f"{bench.url}/v1/chats:{path}",
            json={"model": model},
            headers=headers,
            trust_env=False,
            timeout=20,
        )

    assert verb("unload").status_code == 404
    task = bench.serve()
    assert verb("load").json()["served_by"] == task.id
    assert bench.replica.asked[-1].sampling.max_new_tokens == 1
    for path in ("pin", "unpin", "unload"):
        assert verb(path).status_code == 200
    weights = bench.replica.asked[-1].model.weights
    model = bench.replica.asked[-1].model.model_dump(mode="json")
    assert bench.replica.verbs == [
        ("pin", {"weights": weights, "pinned": True, "model": model}),
        ("pin", {"weights": weights, "pinned": False, "model": model}),
        ("unload", {"weights": weights}),
    ]
    listed = httpx.get(f"{bench.url}/v1/chats", headers=headers, trust_env=False).json()["data"]
    assert [(one["state"], one["status"]["engine"]) for one in listed] == [("ready", "stand-in")]
    assert verb("load", "nothing").status_code == 404
    assert asking.counts.answered == 1


def test_a_server_that_ends_tells_whoever_reads(bench: ChatBench) -> None:
    bench.serve()
    is_begun = threading.Event()

    async def endless(_ask: Ask) -> AsyncIterator[Any]:
        import asyncio

        yield piece("x")
        is_begun.set()
        await asyncio.sleep(30)
        yield end()

    bench.replica.script = endless
    found: list[Exception] = []

    def read() -> None:
        try:
            list(bench.client().chat.completions.create(model="smol", messages=ASKED, stream=True))
        except openai.APIError as error:
            found.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert is_begun.wait(10)
    time.sleep(0.05)
    bench.plane.services.streams.close()
    reader.join(timeout=10)
    assert "The server is ending" in str(found[0])
    wait_until(lambda: bench.replica.running == 0, 5, "the end of the computing")
