"""The client against a real server that is killed, loses answers and refuses for a while."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_api import KEY, FakeApi

from tunesmith import Client
from tunesmith.client.transport import Transport, shown
from tunesmith.errors import (
    CannotConnect,
    Conflict,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    TunesmithError,
    Unauthorized,
    Unavailable,
    UnknownField,
)
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith.spec.task import NewTrainTask

NEW = {"kind": "train", "spec": {"model_name_or_path": "m", "train_file": "/data/t.jsonl"}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    with Client(api.url, KEY, retry_seconds=3, patience=3) as found:
        yield found


# --- finding the server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi) -> Home:
    """A state folder whose server is the fake one."""
    monkeypatch.delenv("TUNESMITH_URL", raising=False)
    monkeypatch.delenv("TUNESMITH_API_KEY", raising=False)
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    (tmp_path / "connection.json").write_text(json.dumps({"api_url": api.url}))
    (tmp_path / "api-key").write_text(KEY + "\n")
    return Home()


def test_no_arguments_take_the_state_folder(home: Home) -> None:
    assert Client().system().version == "0"


def test_the_environment_wins(home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    home.connection_file.write_text(json.dumps({"api_url": "http://127.0.0.1:9"}))
    monkeypatch.setenv("TUNESMITH_URL", api.url)
    monkeypatch.setenv("TUNESMITH_API_KEY", KEY)
    assert Client().system().version == "0"


def test_the_state_folders_key_goes_to_its_own_server_alone(
    home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_URL", api.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(Unauthorized):
        Client().system()


def test_without_a_platform_the_hint_is_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_URL", raising=False)
    with pytest.raises(CannotConnect) as caught:
        Client(home=Home(tmp_path))
    assert "tunesmith up" in str(caught.value.hint)


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:80", "http://"])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        Client(url, "k", home=Home(tmp_path))


def test_a_proxy_of_the_environment_does_not_see_loopback(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert Client(api.url, KEY, retry_seconds=0).system().version == "0"


# --- the key stays hidden


def test_the_key_shows_nowhere(api: FakeApi) -> None:
    client = Client(api.url, KEY, retry_seconds=0)
    transport = client._transport
    texts = [repr(client), repr(transport), repr(transport._http.auth), repr(transport._http.headers)]
    api.kill()
    with pytest.raises(CannotConnect) as caught:
        client.system()
    api.start()
    chain: BaseException | None = caught.value
    while chain is not None:
        texts += [repr(chain), str(chain)]
        chain = chain.__cause__
    assert not any(KEY in text for text in texts)


def test_a_password_in_an_address_is_not_shown() -> None:
    assert shown("http://user:secret@host:1/x") == "http://host:1/x"
    assert "secret" not in repr(Transport("http://user:secret@host:1", None))


# --- calls and errors


def test_tasks_are_made_listed_changed_stopped_and_deleted(api: FakeApi, client: Client) -> None:
    made = client.create_task(NewTrainTask.model_validate(NEW | {"name": "one"}))
    assert (made.name, made.state) == ("one", State.PENDING)
    for name in ("two", "three", "four"):
        client.create_task(NEW | {"name": name})
    assert [task.name for task in client.tasks()] == ["four", "three", "two", "one"]
    assert [task.name for task in client.tasks(name="t")] == ["three", "two"]
    assert client.update_task(made.id, notes="n", tags=[]).notes == "n"
    assert client.stop_task(made.id).state is State.STOPPING
    assert [task.name for task in client.tasks(state=[State.STOPPING])] == ["one"]
    client.delete_task(made.id)
    with pytest.raises(NotFound):
        client.task(made.id)


def test_a_new_task_is_sent_as_the_user_gave_it(api: FakeApi, client: Client) -> None:
    """Defaults are the server's: what is left out must not be frozen by an older client."""
    client.create_task(NewTrainTask.model_validate(NEW), "k")
    assert json.loads(api.keys["k"][1]) == NEW


def test_a_task_is_found_by_its_name_if_that_is_unique(api: FakeApi, client: Client) -> None:
    first = api.add_task("my run")
    api.add_task("my run 2")
    assert client.task("my run").id == first.id
    api.add_task("my run")
    with pytest.raises(Conflict) as caught:
        client.task("my run")
    assert first.id in str(caught.value.hint)
    with pytest.raises(NotFound):
        client.task("my")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_to_another_endpoint_is_refused(
    api: FakeApi, client: Client, name: str
) -> None:
    with pytest.raises(InvalidInput):
        client.delete_task(name)
    assert ("DELETE", "/v1/tasks/") not in api.requests


def test_errors_come_back_as_they_were(client: Client) -> None:
    with pytest.raises(UnknownField) as caught:
        client.create_task({"kind": "train", "spec": NEW["spec"] | {"lora_rnk": 3}})  # type: ignore[operator]
    assert caught.value.problems[0].field == "spec.lora_rnk"
    assert "lora_rank" in str(caught.value.hint) or "`r`" in str(caught.value.hint)


def test_a_wrong_key_is_said(api: FakeApi) -> None:
    with pytest.raises(Unauthorized):
        Client(api.url, "wrong").system()


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (418, TunesmithError), (500, Unavailable)])
def test_a_proxys_page_becomes_an_error(api: FakeApi, status: int, kind: type[TunesmithError]) -> None:
    api.refusals = [status]
    with pytest.raises(kind, match=str(status)):
        Client(api.url, KEY, retry_seconds=0).system()


# --- trying again


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(api: FakeApi, client: Client, status: int) -> None:
    api.refusals = [status, status]
    assert client.system().version == "0"
    assert len(api.requests) == 3


def test_asking_again_is_bounded(api: FakeApi) -> None:
    api.refusals = [503] * 1000
    started = time.monotonic()
    with pytest.raises(Unavailable):
        Client(api.url, KEY, retry_seconds=0.5).system()
    assert time.monotonic() - started < 1
    assert len(api.requests) > 1


def test_a_refusal_that_is_final_is_not_asked_again(api: FakeApi, client: Client) -> None:
    with pytest.raises(NotFound):
        client.update_task(f"task-{9:018}", name="x")
    assert len(api.requests) == 1


def test_a_lost_answer_makes_no_second_task(api: FakeApi, client: Client) -> None:
    api.lost_answers = 2
    task = client.create_task(NEW | {"name": "once"})
    assert [method for method, _ in api.requests] == ["POST"] * 3
    assert list(api.tasks) == [task.id]


def test_two_calls_make_two_tasks(api: FakeApi, client: Client) -> None:
    assert client.create_task(NEW).id != client.create_task(NEW).id


def test_a_key_of_ones_own_answers_the_same_task(client: Client) -> None:
    assert client.create_task(NEW, "k").id == client.create_task(NEW, "k").id
    with pytest.raises(IdempotencyConflict):
        client.create_task(NEW | {"name": "other"}, "k")


def test_a_lost_answer_to_a_delete_is_no_error(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.lost_answers = 1
    client.delete_task(task.id)
    assert api.tasks == {}


def test_a_call_survives_a_restart_of_the_server(api: FakeApi, client: Client) -> None:
    client.system()  # a kept-alive connection that will be dead
    api.kill()
    later = threading.Timer(0.3, api.start)
    later.start()
    assert client.system().version == "0"
    later.join()


# --- reading what a task reports


def test_only_what_has_files_read_may_take_minutes(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that is not answered soon is sent again, not waited for."""
    task = api.add_task()
    seen: dict[str, float] = {}

    def send(self: httpx.Client, request: httpx.Request, **_: Any) -> httpx.Response:
        verb = request.url.path.rpartition(":")[2].rpartition("/")[2]
        seen[verb] = request.extensions["timeout"]["read"]
        return httpx.Response(404, request=request)

    monkeypatch.setattr(httpx.Client, "send", send)
    for call in (
        lambda: client.stop_task(task.id),
        lambda: client.save_checkpoint(task.id),
        lambda: client.pin_checkpoint(task.id, 1),
        lambda: client.datasets.validate("/t"),
    ):
        with contextlib.suppress(TunesmithError):
            call()
    assert seen == {"stop": 30, "save": 30, "pin": 30, "validate": 300}


def test_pages_of_events_are_turned(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    every = list(client.events(task.id))
    assert [event.n for event in every] == list(range(1, len(api.events[task.id]) + 1))
    assert [event.n for event in client.events(task.id, after=4, kind=["metrics"])] == [5, 7, 9, 11]


def test_an_event_of_a_newer_server_is_passed_over(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    api.kind_of_tomorrow = 4
    wanted = [event.n for event in api.events[task.id] if event.n != 4]
    assert [event.n for event in client.events(task.id)] == wanted
    assert [event.n for event in client.stream(task.id)] == wanted


def test_metrics_checkpoints_and_logs(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    saved = {"kind": "checkpoint", "step": 5, "uri": "/c", "bytes": 7, "files": 2, "manifest_sha256": "0"}
    api.append(
        task.id, {"kind": "log", "message": "a"}, {"kind": "log", "level": "error", "message": "b"}, saved
    )
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    assert list(client.metrics(task.id, ["loss"]).series) == ["loss"]
    assert [point.step for point in client.metrics(task.id).series["learning_rate"]] == [1, 2, 3, 4, 5]
    assert client.checkpoints(task.id)[0].bytes == 7
    assert [line.message for line in client.logs(task.id)] == ["a", "b"]
    assert [line.message for line in client.logs(task.id, tail=1)] == ["b"]
    assert [line.message for line in client.logs(task.id, level=["info"])] == ["a"]


def test_wait_lasts_until_the_end(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    ends = threading.Timer(0.3, lambda: api.run_to(task.id, State.FAILED, Reason.NUMERIC))
    ends.start()
    assert client.wait(task.name).reason is Reason.NUMERIC
    ends.join()


def test_wait_begins_while_the_server_is_away(api: FakeApi) -> None:
    """One call alone would give up sooner; so would the wait, with less patience."""
    task = api.add_task()
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    api.kill()
    with Client(api.url, KEY, retry_seconds=0.1, patience=0.2) as hasty, pytest.raises(CannotConnect):
        hasty.wait(task.id)
    later = threading.Timer(0.5, api.start)
    later.start()
    with Client(api.url, KEY, retry_seconds=0.1) as patient:
        assert patient.wait(task.id).state is State.COMPLETED
    later.join()


def test_wait_gives_up_in_time(api: FakeApi, client: Client) -> None:
    task = api.add_task()
    with pytest.raises(TimeoutError, match=task.id):
        client.wait(task.id, timeout=0.3)
