"""Two replicas make the same thing at the same moment: the second gets the answer it would have got a second later."""

import concurrent.futures
import contextlib
import datetime as dt
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from given import MODEL, SPEC
from model_files import make_model_folder
from sqlalchemy import UniqueConstraint, event
from sqlalchemy.orm import Session

from tunesmith.access import Role
from tunesmith.chat.conversations import NewConversation, NewTurn
from tunesmith.job import read_secret
from tunesmith_platform.access.people import Person
from tunesmith_platform.access.sign_in_service import Origin
from tunesmith_platform.chats.service import ChatService
from tunesmith_platform.clock import now
from tunesmith_platform.conversations.making import Wanted
from tunesmith_platform.conversations.writing import Busy, Said, Writing
from tunesmith_platform.db.tables import Base, RunnerRow, TaskRow
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.inputs import TrainInputs
from tunesmith_platform.tasks.repository import Filter

Clients = tuple[TestClient, TestClient]
_HELD = "whoever writes it holds its task's row"
_OWN_ID = "each row has an id of its own"
_PROJECT = "whoever writes it holds its project's row, which one of them makes"
_CONVERSATION = "whoever writes it holds its conversation's row"
RACES = {
    "api_keys.id": _OWN_ID,
    "api_keys.subject": "test_two_sign_ins_of_a_person_are_one_key",
    "api_keys.sha256": "test_two_servers_start_with_one_new_key",
    "audit.id": _OWN_ID,
    "attempts.task_id,number": _HELD,
    "checkpoint_scores.task_id,step": _HELD,
    "checkpoint_uses.task_id,of_task_id,step": "made with its task",
    "checkpoints.task_id,step": _HELD,
    "browsers.sha256": "test_a_code_lets_one_browser_in",
    "chat_files.owner,weights,file_type": "the later one takes its place, in one statement",
    "chat_proofs.owner,key": "made where it is not there, in one statement",
    "chats.owner,base_key": "test_two_first_questions_begin_one_task",
    "conversation_answers.conversation_id,turn,place": _CONVERSATION,
    "conversation_turns.conversation_id,key": "test_one_of_two_questions_is_asked_in_a_conversation",
    "conversation_turns.conversation_id,number": "test_one_of_two_questions_is_asked_in_a_conversation",
    "conversations.id": _OWN_ID,
    "dataset_versions.dataset_id,number": "test_two_versions_of_a_new_data_set_are_both_there",
    "datasets.id": _OWN_ID,
    "datasets.name": "test_two_versions_of_a_new_data_set_are_both_there",
    "deliveries.id": _OWN_ID,
    "deliveries.receiver,task_id,n": "whoever writes it holds its task's cursor",
    "evaluated.task_id,of_task_id": _HELD,
    "evaluations.task_id": _HELD,
    "events.task_id,attempt,seq": _HELD,
    "events.task_id,n": _HELD,
    "idempotency_keys.owner,key": "test_a_key_makes_one_task",
    "leases.name": "the migrations make them",
    "measurements.id": _OWN_ID,
    "mirrors.task_id": "test_a_run_is_noted_once",
    "models.id": _OWN_ID,
    "models.name": "test_a_name_of_a_model_is_given_once",
    "models.path": "test_a_model_is_registered_once",
    "notice_cursors.task_id": "made where it is not there, in one statement",
    "packages.task_id": _HELD,
    "pipeline_steps.pipeline_id,position": "made with its pipeline",
    "pipelines.id": _OWN_ID,
    "projects.project": "test_a_project_is_made_once",
    "server_uses.server": "each server writes its own alone",
    "quota_entries.id": _OWN_ID,
    "quota_entries.project,by,key": "test_a_key_makes_one_grant",
    "quota_entries.task_id,step": _PROJECT,
    "quota_projects.project": "test_a_key_makes_one_grant",
    "restores.number": "made by who puts a backup into an empty database, alone with it",
    "runners.id": _OWN_ID,
    "runners.job_id": "test_an_attempt_is_given_to_one_runner",
    "series_chunks.task_id,name,number": _HELD,
    "tasks.id": _OWN_ID,
    "templates.id": _OWN_ID,
    "templates.name": "test_a_name_of_a_template_is_given_once",
    "uploads.id": _OWN_ID,
    "webhooks.id": _OWN_ID,
}
"""Every unique key, and the test of a race for it, or why there is none."""


class Meeting:
    """Holds each thread the first time it comes until the other has come as far, or for a moment.

    Where the database lets only one of them come so far, that one goes on alone.
    """

    def __init__(self) -> None:
        self._barrier, self._here = threading.Barrier(2), threading.local()

    def __call__(self, *_: Any) -> None:
        if not getattr(self._here, "has_met", False):
            self._here.has_met = True
            with contextlib.suppress(threading.BrokenBarrierError):
                self._barrier.wait(0.5)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What calls answer that race: none stores anything before the other has looked whether it may."""
    meeting = Meeting()
    event.listen(Session, "before_flush", meeting)
    try:
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            return [found.result() for found in [pool.submit(call) for call in calls]]
    finally:
        event.remove(Session, "before_flush", meeting)


def posted(
    clients: Clients, path: str, *bodies: dict[str, Any], method: str = "POST", **headers: str
) -> list[Any]:
    """The answers of the two replicas, each to one of the bodies or both to the same."""
    sent = bodies if len(bodies) > 1 else bodies * 2
    calls = [
        lambda client=client, body=body: client.request(method, path, json=body, headers=headers)
        for client, body in zip(clients, sent, strict=True)
    ]
    return at_once(*calls)


@pytest.fixture
def clients(replicas: tuple[Plane, Plane]) -> Iterator[Clients]:
    """Both replicas over HTTP."""
    with contextlib.ExitStack() as stack:
        found = [
            stack.enter_context(TestClient(plane.app, raise_server_exceptions=False)) for plane in replicas
        ]
        for client, plane in zip(found, replicas, strict=True):
            client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield found[0], found[1]


@pytest.fixture
def folders(replicas: tuple[Plane, Plane], tmp_path: Path) -> list[str]:
    """Two models, in folders that may be registered."""
    for plane in replicas:
        plane.settings.allowed_roots.append(tmp_path)
    return [str(make_model_folder(tmp_path / name)) for name in ("a", "b")]


def codes(replies: list[Any]) -> list[int]:
    return sorted(reply.status_code for reply in replies)


def test_every_unique_key_has_its_race() -> None:
    """One that was forgotten ends a race for it as a fault of ours."""
    found = set()
    for table in Base.metadata.tables.values():
        keys = [
            table.primary_key.columns,
            *(index.columns for index in table.indexes if index.unique),
            *(item.columns for item in table.constraints if isinstance(item, UniqueConstraint)),
        ]
        found |= {f"{table.name}.{','.join(column.name for column in columns)}" for columns in keys}
    assert found == RACES.keys()
    assert {test for test in RACES.values() if test.startswith("test_")} <= globals().keys()


def test_a_name_of_a_model_is_given_once(clients: Clients, folders: list[str]) -> None:
    replies = posted(clients, "/v1/models", *({"source": folder, "name": "pet"} for folder in folders))
    assert codes(replies) == [201, 409], [reply.text for reply in replies]
    (refused,) = (reply.json()["error"] for reply in replies if reply.status_code == 409)
    assert (refused["code"], "pet" in refused["message"]) == ("conflict", True)


def test_a_model_is_registered_once(clients: Clients, folders: list[str]) -> None:
    replies = posted(clients, "/v1/models", {"source": folders[0]})
    assert codes(replies) == [200, 201]
    assert len({reply.json()["id"] for reply in replies}) == 1


def test_a_code_lets_one_browser_in(clients: Clients) -> None:
    code = clients[0].post("/v1/sessions:link").json()["url"].rpartition("/")[2]
    headers = {"Authorization": f"Bearer {code}", "X-Tunesmith-Studio": "1"}
    replies = at_once(*(lambda one=one: one.post("/v1/sessions", headers=headers) for one in clients))
    assert codes(replies) == [201, 401], [reply.text for reply in replies]


def test_two_sign_ins_of_a_person_are_one_key(replicas: tuple[Plane, Plane]) -> None:
    """Its first ones, with two browsers."""
    person, until = Person("s" * 64, "ann", Role.VIEWER, None), now() + dt.timedelta(hours=1)
    keys = at_once(
        *(lambda one=one: one.services.sign_in.key_of(person, until, Origin()) for one in replicas)
    )
    assert len(set(keys)) == 1


def test_two_first_questions_begin_one_task(replicas: tuple[Plane, Plane]) -> None:
    """As do two that come when the task has ended."""
    for starts in (1, 2):
        places = at_once(*(lambda plane=plane: chats_of(plane).place(LOCAL, MODEL) for plane in replicas))
        (task_id,) = {place.task_id for place in places}
        serving = replicas[0].services.tasks.page(LOCAL, Filter(kind="chat")).data
        assert (len(serving), serving[0].id) == (starts, task_id)
        replicas[1].services.tasks.stop(LOCAL, task_id)


def chats_of(plane: Plane) -> ChatService:
    return ChatService(plane.services.database, plane.settings, plane.services.tasks)


@pytest.mark.parametrize("key", [None, "k"])
def test_one_of_two_questions_is_asked_in_a_conversation(
    replicas: tuple[Plane, Plane], key: str | None
) -> None:
    """The other is told so; and a retry finds the answer that is there."""
    made, _ = replicas[0].services.conversations.create(LOCAL, NewConversation())
    writing = [Writing(plane.services.database) for plane in replicas]
    new, wanted = NewTurn(content="?"), [Wanted("m", "w")]

    def begin(one: Writing) -> Any:
        try:
            return one.begin(LOCAL, made.id, new, wanted, key)
        except Busy as error:
            return error

    found = at_once(*(functools.partial(begin, one) for one in writing))
    assert sorted(type(one).__name__ for one in found) == ["Begun", "Busy"]
    whole = Said("Yes", "", "whole", "", {"finish_reason": "stop"})
    at_once(*(functools.partial(one.note, LOCAL, made.id, 1, {0: whole}) for one in writing))
    again = at_once(*(functools.partial(begin, one) for one in writing))
    if key is None:
        assert sorted(type(one).__name__ for one in again) == ["Begun", "Busy"]
    else:
        assert [(one.turn, one.places) for one in again] == [(1, []), (1, [])]
    turns = replicas[1].services.conversations.get(LOCAL, made.id, every=True).said
    assert len(turns) == (2 if key is None else 1)


def test_two_models_are_not_renamed_to_one_name(clients: Clients, folders: list[str]) -> None:
    made = [clients[0].post("/v1/models", json={"source": folder}).json()["id"] for folder in folders]
    calls = [
        lambda client=client, model=model: client.patch(f"/v1/models/{model}", json={"name": "pet"})
        for client, model in zip(clients, made, strict=True)
    ]
    assert codes(at_once(*calls)) == [200, 409]


def test_two_versions_of_a_new_data_set_are_both_there(
    clients: Clients, replicas: Any, tmp_path: Path
) -> None:
    bodies = []
    for plane, word in zip(replicas, ("one", "two"), strict=True):
        plane.settings.allowed_roots.append(tmp_path)
        (tmp_path / f"{word}.jsonl").write_text(f'{{"prompt": "p", "response": "{word}"}}\n')
        bodies.append({"source": str(tmp_path / f"{word}.jsonl"), "name": "rows"})
    replies = posted(clients, "/v1/datasets", *bodies)
    assert codes(replies) == [201, 201], [reply.text for reply in replies]
    assert sorted(reply.json()["latest"] for reply in replies) == [1, 2]


def test_a_name_of_a_template_is_given_once(clients: Clients) -> None:
    body = {"name": "mine", "kind": "train", "parameters": {"learning_rate": 1e-4}}
    assert codes(posted(clients, "/v1/templates", body)) == [201, 409]


def test_a_key_makes_one_task(clients: Clients) -> None:
    body = {"spec": SPEC}
    replies = posted(clients, "/v1/tasks", body, **{"Idempotency-Key": "k"})
    assert codes(replies) == [200, 201], [reply.text for reply in replies]
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert len(clients[0].get("/v1/tasks").json()["data"]) == 1
    other = clients[1].post("/v1/tasks", json=body | {"name": "n"}, headers={"Idempotency-Key": "k"})
    assert other.json()["error"]["code"] == "idempotency_conflict"


def test_a_key_makes_one_pipeline(clients: Clients, replicas: Any, tmp_path: Path) -> None:
    for plane in replicas:
        plane.settings.allowed_roots.append(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    text = (
        "components: [{id: a, type: datasets, provider: local, data_files: a.jsonl}]\n"
        "workflows: [{id: flow, jobs: [{id: load, component: a}]}]\n"
    )
    body = {"yaml": text, "folder": str(tmp_path)}
    replies = posted(clients, "/v1/pipelines", body, **{"Idempotency-Key": "k"})
    assert codes(replies) == [200, 201], [reply.text for reply in replies]
    assert len({reply.json()["id"] for reply in replies}) == 1


def test_a_key_makes_one_grant(clients: Clients) -> None:
    replies = posted(clients, "/v1/quota/p/grants", {"amount": 5}, **{"Idempotency-Key": "k"})
    assert codes(replies) == [200, 201], [reply.text for reply in replies]
    assert clients[0].get("/v1/quota/p").json()["granted"] == 5


def test_one_of_two_tasks_writes_into_a_folder(
    replicas: tuple[Plane, Plane], clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No unique key says it: a folder lies in another."""
    for plane in replicas:
        inputs = TrainInputs(model_path="/m", train_path="/t", output_dir=str(tmp_path / "out"))
        plane.training.look_at = lambda scope, spec, inputs=inputs: inputs
    meeting, look = Meeting(), repository.refuse_shared_output

    def look_and_meet(*given: Any, **named: Any) -> None:
        look(*given, **named)
        meeting()

    monkeypatch.setattr(repository, "refuse_shared_output", look_and_meet)
    replies = posted(clients, "/v1/tasks", {"spec": {"model": "m", "train_file": "/t"}})
    assert codes(replies) == [201, 409], [reply.text for reply in replies]


def test_two_servers_start_with_one_new_key(replicas: tuple[Plane, Plane]) -> None:
    file = replicas[0].settings.api_key_file
    at_once(*(lambda plane=plane: plane.services.keys.enroll(file, name="local") for plane in replicas))
    assert [plane.services.keys.identity(read_secret(file)).name for plane in replicas] == ["local", "local"]


def test_a_project_is_made_once(clients: Clients) -> None:
    replies = posted(clients, "/v1/projects", {"name": "search"})
    assert codes(replies) == [201, 409], [reply.text for reply in replies]


def test_an_attempt_is_given_to_one_runner(replicas: tuple[Plane, Plane]) -> None:
    """It is handed over twice where a reconciler's lease ran out meanwhile."""
    with replicas[0].services.database.write() as session:
        for name in ("a", "b"):
            row = {"id": f"runner-{name}", "state": "idle", "code": code_stamp()}
            session.add(RunnerRow(**row, created_at=now(), seen_at=now()))
    at_once(
        *(
            lambda plane=plane: plane.services.jobs.submit("task-1-1", "/d", can_be_warm=True)
            for plane in replicas
        )
    )
    given = [replicas[0].services.runners.take(f"runner-{name}").document_uri for name in ("a", "b")]
    assert sorted(map(str, given)) == ["/d", "None"]
    assert replicas[0].jobs.submits == []


def test_a_run_is_noted_once(replicas: tuple[Plane, Plane]) -> None:
    task = replicas[0].submit()
    with replicas[0].services.database.read() as session:
        row = session.get_one(TaskRow, task.id)
    found = at_once(*(lambda plane=plane: plane.mirror.artifact_uri(row) for plane in replicas))
    assert len(set(found)) == 1
    assert found[0]
