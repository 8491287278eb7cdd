"""`tunesmith tasks ...`: what is printed, where, and with which exit code."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_api import KEY, FakeApi
from typer.testing import CliRunner

from tunesmith import views
from tunesmith.cli.main import build_app
from tunesmith.errors import Fault
from tunesmith.lifecycle import Reason, State, WaitsFor
from tunesmith.spec.checkpoint_scores import SCORE_TAG
from tunesmith.spec.own_tasks import OWN_TAGS

CHECKPOINT = {"kind": "checkpoint", "step": 5, "uri": "/c/checkpoint-5", "bytes": 2**20, "files": 8}
LONG_ID = "task-01m7y6yengf08ppm1c"


@pytest.fixture
def done(api: FakeApi) -> views.TaskView:
    """A task that has trained and completed."""
    task = api.add_task(progress=views.ProgressView(step=5, total_steps=5, percent=100, loss=0.6))
    api.append(
        task.id, {"kind": "log", "message": "hello"}, {"kind": "log", "level": "error", "message": "oh"}
    )
    api.append(task.id, CHECKPOINT | {"manifest_sha256": "0", "metrics": {"eval_loss": 1.25}})
    api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
    return api.tasks[task.id]


def test_the_list_in_a_pipe_has_a_line_for_each_task_and_cuts_nothing(
    api: FakeApi, cli: Callable[..., Any]
) -> None:
    progress = views.ProgressView(step=42, total_steps=100, percent=42, loss=1.23456)
    api.add_task("a name that goes on and on and on and on and on", progress=progress, id=LONG_ID)
    said = cli("tasks", "list")
    assert said.code == 0
    assert len(said.out.splitlines()) == 2
    row = said.out.splitlines()[1]
    assert row.startswith(f"{LONG_ID}  a name that goes on and on and on and on and on  ")
    assert "○ pending" in row
    assert "42%" in row
    assert "1.235" in row


def test_the_list_is_filtered(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    other = api.add_task("other")
    assert other.id not in cli("tasks", "list", "--state", "completed").out
    assert [task["id"] for task in json.loads(cli("tasks", "list", "--name", "oth", "--json").out)] == [
        other.id
    ]
    assert other.id in cli("tasks", "list", "--kind", "train").out
    assert other.id not in cli("tasks", "list", "--kind", "evaluate").out
    assert cli("tasks", "list", "--state", "done").code == 2


def test_what_trainings_have_made_is_counted_in_one_line_and_shown_with_all(
    api: FakeApi, cli: Callable[..., Any]
) -> None:
    made = [api.add_task(f"scores {n}", tags=[SCORE_TAG], kind="evaluate") for n in range(2)]
    said = cli("tasks", "list")
    assert (said.code, said.out) == (0, "task  name  state  done  loss  age\n")
    assert "have made of their checkpoints: 2; `--all`" in said.err
    own = api.add_task("own")
    said = cli("tasks", "list")
    assert own.id in said.out
    assert not any(one.id in said.out for one in made)
    for more in (("--all",), ("--tag", SCORE_TAG)):
        said = cli("tasks", "list", *more)
        assert made[1].id in said.out
        assert "have made" not in said.err
    assert [one["id"] for one in json.loads(cli("tasks", "list", "--json").out)] == [own.id]


@pytest.mark.parametrize("tag", OWN_TAGS)
def test_what_was_made_by_itself_is_in_no_list_unless_it_is_asked_for(
    api: FakeApi, cli: Callable[..., Any], tag: str
) -> None:
    made, own = api.add_task("made", tags=["x", tag], kind="evaluate"), api.add_task("own", tags=["x"])
    for args in (("tasks",), ("tasks", "list"), ("tasks", "list", "--json"), ("tasks", "--json")):
        said = cli(*args)
        assert own.id in said.out
        assert made.id not in said.out
        assert (f"{OWN_TAGS[tag]}: 1; `--all`" in said.err) is ("--json" not in args)
    for more in (("--all",), ("--tag", tag), ("--all", "--json"), ("--tag", tag, "--json")):
        assert made.id in cli("tasks", "list", *more).out


def test_an_empty_list_says_how_to_begin(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli("tasks", "list")
    assert (said.code, said.out) == (0, "")
    assert "tunesmith train" in said.err
    assert cli("tasks", "list", "--json").out.strip() == "[]"


def test_more_than_the_limit_is_said(api: FakeApi, cli: Callable[..., Any]) -> None:
    for _ in range(3):
        api.add_task()
    assert "--limit" in cli("tasks", "list").err


def test_show_says_why_whose_fault_and_what_next(api: FakeApi, cli: Callable[..., Any]) -> None:
    task = api.add_task("bad")
    api.run_to(task.id, State.FAILED, Reason.OUT_OF_MEMORY)
    said = cli("tasks", "show", "bad")
    for words in ("✘ failed", "It ran out of memory.", Fault.USER, "per_device_train_batch_size", task.id):
        assert words in said.out
    assert "learning_rate" in said.out, "a parameter that was chosen"
    assert "lora_dropout" not in said.out, "a parameter that was not"


def test_show_says_what_a_pending_task_waits_for(api: FakeApi, cli: Callable[..., Any]) -> None:
    api.add_task("p", waits_for=WaitsFor.RESOURCES, message="No free CPU.")
    said = cli("tasks", "show", "p")
    assert "resources" in said.out
    assert "No free CPU." in said.out
    assert json.loads(cli("tasks", "show", "p", "--json").out)["waits_for"] == "resources"


def test_show_of_nothing(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli("tasks", "show", "none")
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines() == [
        "error: There is no task `none`.",
        "hint: `tunesmith tasks list` shows them.",
    ]


@pytest.mark.parametrize("command", [["stop"], ["tasks", "stop"]])
def test_stop(api: FakeApi, cli: Callable[..., Any], command: list[str]) -> None:
    first, second = api.add_task("one"), api.add_task("two")
    said = cli(*command, "one", second.id)
    assert said.code == 0
    assert api.tasks[first.id].state is api.tasks[second.id].state is State.STOPPING
    assert "Task `one` is stopping." in said.err


def test_stop_says_that_it_came_late(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    assert "It had ended before." in cli("stop", done.id).err


def test_delete_asks_unless_told(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    refused = cli("tasks", "delete", done.id)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert done.id in api.tasks
    assert cli("tasks", "delete", done.id, "--yes").code == 0
    assert done.id not in api.tasks


def test_update(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    assert cli("tasks", "update", done.id, "--notes", "n", "--tag", "a").code == 0
    assert (api.tasks[done.id].notes, api.tasks[done.id].tags) == ("n", ["a"])
    assert cli("tasks", "update", done.id).code == 1


def test_metrics_are_drawn_and_listed(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    said = cli("tasks", "metrics", done.id)
    assert "Training loss (nats/token) by step" in said.out
    assert "⠑" in said.out or "⠢" in said.out
    line = next(line for line in said.out.splitlines() if line.startswith("loss"))
    assert line.split() == ["loss", "0.6", "nats/token", "0.6", "3", "5"]
    assert list(json.loads(cli("tasks", "metrics", done.id, "--name", "loss", "--json").out)["series"]) == [
        "loss"
    ]


def test_nothing_measured_yet(api: FakeApi, cli: Callable[..., Any]) -> None:
    task = api.add_task("new")
    assert "has not measured anything yet" in cli("tasks", "metrics", task.id).err
    assert "has no checkpoint yet" in cli("tasks", "checkpoints", task.id).err


def test_a_checkpoint_is_asked_for_pinned_and_let_go(
    api: FakeApi, cli: Callable[..., Any], done: views.TaskView
) -> None:
    assert "saves a checkpoint" in cli("checkpoint", done.id).err
    assert json.loads(cli("checkpoint", done.id, "--json").out)["requests"] == 1
    assert "`checkpoint-5` is pinned" in cli("checkpoints", "pin", done.id, "5").err
    assert "no longer pinned" in cli("checkpoints", "unpin", done.id, "5").err
    assert json.loads(cli("checkpoints", "list", done.id, "--json").out)[0]["step"] == 5


def test_checkpoints(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    said = cli("tasks", "checkpoints", done.id)
    for words in ("1.0 MiB", "eval_loss 1.25", "newest: /c/checkpoint-5"):
        assert words in said.out
    assert json.loads(cli("tasks", "checkpoints", done.id, "--json").out)[0]["step"] == 5


def test_a_step_leads_to_its_rows(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    said = cli("tasks", "rows", done.id, "--step", "5")
    assert said.out == "3 14 159\n"
    assert "epoch 2" in said.err
    assert json.loads(cli("tasks", "rows", done.id, "--step", "5", "--json").out)["rows"] == [3, 14, 159]
    assert cli("tasks", "rows", done.id, "--step", "0").code == 2


def test_logs(api: FakeApi, cli: Callable[..., Any], done: views.TaskView) -> None:
    assert [line.split()[-1] for line in cli("tasks", "logs", done.id).out.splitlines()] == ["hello", "oh"]
    assert "hello" not in cli("tasks", "logs", done.id, "--level", "error").out
    lines = cli("tasks", "logs", done.id, "--follow", "--json").out.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["hello", "oh"]


def test_what_a_job_logs_cannot_steer_the_terminal(api: FakeApi, cli: Callable[..., Any]) -> None:
    evil = "\x1b]0;title\x07\x1b[2J[bold]x\x9b31m"
    task = api.add_task("evil", notes=evil, message=evil)
    api.append(task.id, {"kind": "log", "message": evil}, {"kind": "warning", "code": "c", "message": evil})
    for command in (["tasks", "logs"], ["tasks", "events"], ["tasks", "show"]):
        said = cli(*command, task.id)
        assert "[bold]x" in said.out, "what looks like markup is text"
        assert not {"\x1b", "\x07", "\x9b"} & set(said.out)


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_events(api: FakeApi, cli: Callable[..., Any], done: views.TaskView, follow: list[str]) -> None:
    lines = cli("tasks", "events", done.id, "--json", *follow).out.splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(1, done.events + 1))
    said = cli("tasks", "events", done.id, "--kind", "checkpoint", *follow)
    assert len(said.out.splitlines()) == 1
    assert "checkpoint at step 5: 8 files, 1.0 MiB" in said.out


def test_a_wrong_key_shows_no_key(
    api: FakeApi, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_API_KEY", "ts-wrong-key")
    said = cli("tasks", "list")
    assert said.code == 1
    assert "error: This API key is not known." in said.err
    assert "ts-wrong-key" not in said.err + said.out
    assert KEY not in said.err


def test_no_server_says_how_to_start_one(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("tunesmith.cli.arguments.RETRY_SECONDS", 0.1)
    said = cli("tasks", "list")
    assert said.code == 1
    assert "error: Nothing answers at `http://127.0.0.1:9`." in said.err
    assert "tunesmith up" in said.err
    assert "Traceback" not in said.err


def test_the_app_runs_under_typers_own_runner(api: FakeApi, done: views.TaskView) -> None:
    result = CliRunner().invoke(build_app(), ["tasks", "show", done.id, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["id"] == done.id
