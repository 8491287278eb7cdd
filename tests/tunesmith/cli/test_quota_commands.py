"""`tunesmith quota ...` and `client.quota`, against the real control plane over HTTP."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest_platform import Plane, home
from given import MODEL, ROWS
from served import served

from tunesmith.client import Client
from tunesmith.errors import Forbidden, InvalidInput, QuotaExceeded

__all__ = ["home"]


@pytest.fixture
def plane(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane that answers where the command line looks."""
    plane = Plane(home)
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


def test_a_quota_is_enabled_granted_and_shown(plane: Plane, cli: Callable[..., Any]) -> None:
    assert "No project has a quota" in cli("quota", "list").err
    assert "off" in cli("quota", "show").out
    said = cli("quota", "grant", "7", "--note", "for November")
    assert (said.code, said.out) == (0, "")
    assert "7 available" in said.err
    assert "tunesmith quota enable default" in said.err, "a grant on a quota that is off changes nothing"
    assert "on" in cli("quota", "enable", "--low", "2").out
    assert json.loads(cli("quota", "grant", "-3", "--json").out)["amount"] == -3
    view = json.loads(cli("quota", "show", "--json").out)
    assert (view["enabled"], view["available"], view["low_threshold"]) == (True, 4, 2)
    assert cli("quota", "list").out.splitlines()[1].split()[:3] == ["default", "on", "4"]
    assert "off" in cli("quota", "disable").out
    assert json.loads(cli("quota", "show", "--json").out)["low_threshold"] == 2


def test_the_history_says_what_and_by_whom(plane: Plane, cli: Callable[..., Any]) -> None:
    assert "Nothing" in cli("quota", "history", "p").err
    for amount in ("3", "4", "5"):
        cli("quota", "grant", amount, "p", "--note", f"n{amount}")
    said = cli("quota", "history", "p", "--limit", "2")
    assert "--limit 4" in said.err
    lines = said.out.splitlines()
    assert "+5" in lines[1]
    assert "n5" in lines[1]
    assert "local" in lines[1]
    assert [entry["amount"] for entry in json.loads(cli("quota", "history", "p", "--json").out)] == [5, 4, 3]


@pytest.mark.parametrize("args", [["grant", "0"], ["grant", "many"], ["grant"], ["enable", "--low", "-1"]])
def test_a_senseless_call_is_refused(plane: Plane, cli: Callable[..., Any], args: list[str]) -> None:
    said = cli("quota", *args)
    assert said.code in (1, 2)
    assert "error: " in said.err


def test_the_client_says_why_it_may_not(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client() as client:
        client.quota.change("p", enabled=True)
        new = {"project": "p", "spec": {"model": MODEL, "train_file": ROWS, "max_steps": 4, "save_steps": 2}}
        with pytest.raises(QuotaExceeded) as refused:
            client.create_task(new)
        assert (refused.value.details["needed"], refused.value.details["available"]) == (2, 0)
        client.quota.grant(2, "p", idempotency_key="k")
        client.quota.grant(2, "p", idempotency_key="k")
        task = client.create_task(new)
        (entry,) = client.quota.history("p", task=task.id)
        assert (entry.kind, entry.reserved, entry.by) == ("reserve", 2, "local")
        assert [item.project for item in client.quota.list()] == ["p"]
        with pytest.raises(InvalidInput):
            client.quota.show("..")
    with Client(api_key=plane.key("ann")) as client, pytest.raises(Forbidden):
        client.quota.grant(1)
