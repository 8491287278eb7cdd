"""What the platform's processes log: objects that a collector reads, each with its request and task; never a secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.secret_values import hide, known_secrets
from tunesmith_platform.app import create_app
from tunesmith_platform.hub import Hub
from tunesmith_platform.logs import JsonLines, Lines, LogFormat, serving
from tunesmith_platform.loops import Loop, Troubles
from tunesmith_platform.settings import Settings

CANARY = "c4n4ry-of-somebody"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonLines(known_secrets({"WANDB_API_KEY": CANARY, "HOME_TOKEN": "/root", "A_KEY": "short"}))
    )
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


def objects(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


@pytest.fixture
def json_client(plane: Plane) -> Iterator[TestClient]:
    settings = Settings(
        home=plane.home.root,
        run_loops=False,
        log_format=LogFormat.JSON,
        allowed_roots=plane.settings.allowed_roots,
    )
    with TestClient(
        create_app(settings, plane.jobs, plane.tracking), raise_server_exceptions=False
    ) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield client


def test_a_request_is_found_by_the_callers_own_number(
    json_client: TestClient, plane: Plane, lines: io.StringIO
) -> None:
    task = plane.submit()
    reply = json_client.get(f"/v1/tasks/{task.id}?token=abc", headers={"X-Request-Id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    (said,) = [line for line in objects(lines) if line.get("request_id") == "mine-1"]
    assert said["route"] == "/v1/tasks/{task_id}"
    assert (said["method"], said["status"], said["task_id"], said["level"]) == ("GET", 200, task.id, "info")
    assert said["milliseconds"] > 0
    assert "abc" not in lines.getvalue(), "an address may hold what lets somebody in"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "a\tb", 'a"b', "é"])
def test_a_number_that_could_disturb_the_log_is_none(json_client: TestClient, given: str) -> None:
    reply = json_client.get("/v1/tasks", headers={"X-Request-Id": given.encode()})  # type: ignore[dict-item]
    assert reply.headers["x-request-id"].startswith("req_")


def test_a_fault_of_ours_says_the_number_of_its_request(
    json_client: TestClient, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        logging.getLogger("tunesmith_platform.deep").warning("said in the thread of a call")
        raise RuntimeError("broken")

    monkeypatch.setattr(json_client.app.state.services.templates, "page", broken)  # type: ignore[attr-defined]
    reply = json_client.get("/v1/templates", headers={"X-Request-Id": "mine-2"})
    assert reply.status_code == 500
    said = [line for line in objects(lines) if line.get("request_id") == "mine-2"]
    assert {line["level"] for line in said} >= {"warning", "error"}
    assert any("RuntimeError: broken" in line.get("error", "") for line in said)
    assert [line["status"] for line in said if "status" in line] == [500]


def test_a_loops_lines_say_which_task_they_are_of(lines: io.StringIO) -> None:
    log = logging.getLogger("tunesmith_platform.loop")
    troubles = Troubles("Reconciler")
    troubles.each(["task-1a", "weekly"], lambda item: log.info("looked at it"))
    troubles.each(["task-2b"], lambda item: 1 / 0)
    first, second, third = objects(lines)
    assert (first["task_id"], first["item"], first["loop"]) == ("task-1a", "task-1a", "Reconciler")
    assert (second["item"], "task_id" in second) == ("weekly", False)
    assert (third["task_id"], third["level"]) == ("task-2b", "error")
    assert "ZeroDivisionError" in third["error"]
    assert Loop(Hub()).rounds == 0


PLANTED = (
    CANARY, "aaaaaaaaaaaaaaaaaaaa", "0123456789abcdefghij", "pa55word", "t0psecret", "ABCDEFGHIJKLMNOP",
    "abcdefghijklmnopq",
)  # fmt: skip
SECRETS = [
    "Authorization: Bearer ts-aaaaaaaaaaaaaaaaaaaaaaaa",
    "key ts-0123456789abcdefghij_-AB was shown",
    "postgresql+psycopg://tunesmith:pa55word@db/x",
    "GET http://h/a?x=1&token=t0psecret&y=2",
    "s3 said AKIAABCDEFGHIJKLMNOP",
    "hub hf_abcdefghijklmnopqrstuv",
    f"the tracker was given {CANARY}",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_hidden_in_both_forms(text: str) -> None:
    known = known_secrets({"WANDB_API_KEY": CANARY})
    for formatter in (Lines(known), JsonLines(known)):
        record = logging.LogRecord("n", logging.INFO, "p", 1, "%s", (text,), None)
        try:
            raise ValueError(text)
        except ValueError as error:
            record.exc_info = (ValueError, error, error.__traceback__)
        said = formatter.format(record)
        assert not any(secret in said for secret in PLANTED)
        assert "***" in said


def test_words_stay_as_they_are() -> None:
    for text in (
        "task-01m8 -> pending",
        "10 tokens=5",
        "at http://127.0.0.1:8000/v1/tasks?limit=5",
        "ts-short",
    ):
        assert hide(text) == text


def test_lines_outside_of_anything_say_nothing_of_a_request(lines: io.StringIO) -> None:
    with serving(request_id="r"):
        pass
    logging.getLogger("x").info("plain")
    (said,) = objects(lines)
    assert {"request_id", "task_id", "item"} & said.keys() == set()
    assert said["time"].endswith("+00:00")
