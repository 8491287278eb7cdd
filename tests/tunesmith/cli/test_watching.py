"""`tunesmith watch`: what shows while a task runs, how it ends, and that leaving it leaves it running."""

import io
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_api import KEY, FakeApi
from rich.console import Console

from tunesmith import Client, views
from tunesmith.cli.watching import Board, loss_curve, watch_task
from tunesmith.lifecycle import Reason, State, WaitsFor


def shown(board: Board) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(board)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (State.COMPLETED, Reason.COMPLETED, 0),
        (State.FAILED, Reason.NUMERIC, 1),
        (State.STOPPED, Reason.STOPPED_BY_USER, 3),
    ],
)
def test_the_exit_code_is_the_outcome(
    api: FakeApi, cli: Callable[..., Any], state: State, reason: Reason, code: int
) -> None:
    task = api.add_task("t", model_uri="/m/model" if code == 0 else None)
    api.run_to(task.id, state, reason)
    said = cli("watch", "t")
    assert said.code == code
    assert state in said.out
    assert "Training loss (nats/token) by step" in said.out
    assert ("/m/model" in said.out) is (code == 0)
    assert str(api.tasks[task.id].next_step) in " ".join(said.out.split())


def test_without_a_name_the_newest_is_watched(api: FakeApi, cli: Callable[..., Any]) -> None:
    assert "There are no tasks yet." in cli("watch").err
    for name in ("old", "new"):
        api.run_to(api.add_task(name).id, State.COMPLETED, Reason.COMPLETED)
    assert "new" in cli("watch").out


def test_json_is_one_event_a_line(api: FakeApi, cli: Callable[..., Any]) -> None:
    api.run_to(api.add_task("t").id, State.COMPLETED, Reason.COMPLETED)
    assert len(cli("watch", "t", "--json").out.splitlines()) == len(api.events[f"task-{1:018}"])


def test_train_watches_to_the_end(api: FakeApi, cli: Callable[..., Any]) -> None:
    def train() -> None:
        while not api.tasks:
            pass
        api.run_to(f"task-{1:018}", State.COMPLETED, Reason.COMPLETED)

    trainer = threading.Thread(target=train)
    trainer.start()
    said = cli("train", "--model", "m", "--train-file", "/t", "--watch")
    trainer.join()
    assert said.code == 0
    assert "✔ completed" in said.out


def test_warnings_and_checkpoints_stand_above_the_bar_also_those_from_before(api: FakeApi) -> None:
    task = api.add_task()
    warning = {"kind": "warning", "code": "c", "message": "3 rows were cut.", "hint": "Raise `max_length`."}
    saved = {"kind": "checkpoint", "step": 4, "uri": "/c", "bytes": 1, "files": 1, "manifest_sha256": "0"}
    api.append(task.id, {"kind": "state", "state": "running"}, warning)
    console = Console(width=80, file=io.StringIO())
    with Client(api.url, KEY) as client:
        ends = threading.Timer(0.2, lambda: (api.append(task.id, saved), end(api, task)))
        ends.start()
        view = watch_task(client, task.id, console)
        ends.join()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert view.state is State.COMPLETED
    assert text.count("3 rows were cut. Raise `max_length`.") == 1
    assert text.count("checkpoint at step 4") == 1


def end(api: FakeApi, task: views.TaskView) -> None:
    api.append(task.id, {"kind": "state", "state": "completed", "reason": "completed"})


def test_the_board_shows_every_stage(api: FakeApi) -> None:
    task = api.add_task(waits_for=WaitsFor.RESOURCES)
    board = Board(task)
    assert "waiting: resources" in shown(board)
    stages = [
        ({"kind": "phase", "phase": "job", "seconds": 1}, "importing libraries"),
        (
            {"kind": "phase_progress", "phase": "data", "done": 12000, "share": 0.4, "seconds_left": 95},
            "12,000 rows (40 %, 1m 35s left)",
        ),
        ({"kind": "phase", "phase": "data", "seconds": 1}, "loading the model"),
        ({"kind": "state", "state": "running"}, "● running"),
        ({"kind": "training_started", "step": 0, "total_steps": 200}, "step 0/200"),
        (
            {"kind": "metrics", "step": 50, "values": {"loss": 2.5, "learning_rate": 1e-4}},
            "learning rate 1.00e-04",
        ),
        ({"kind": "metrics", "step": 50, "values": {"tokens_per_second": 512.0}}, "512 tokens/s"),
        ({"kind": "progress", "step": 50, "total_steps": 200, "seconds_left": 95}, "1m 35s left"),
        (
            {"kind": "state", "state": "stopping", "message": "It saves a checkpoint."},
            "It saves a checkpoint.",
        ),
    ]
    for payload, words in stages:
        api.append(task.id, payload)
        board.take(api.events[task.id][-1])
        board.look(api.tasks[task.id])
        assert words in shown(board)
        assert words in board.line() or words == "● running"
        assert all(len(line.rstrip()) <= 80 for line in shown(board).splitlines())
    assert "25%" in shown(board)
    board.is_away = True
    assert "the server is away" in shown(board)


def test_a_resumed_task_says_from_where(api: FakeApi) -> None:
    task = api.add_task()
    api.append(
        task.id,
        {
            "kind": "training_started",
            "step": 5,
            "total_steps": 9,
            "restart": 1,
            "resumed_from": "checkpoint-5",
        },
    )
    line = Board(task).take(api.events[task.id][-1])
    assert line is not None
    assert "step 5 of 9, from `checkpoint-5`, restart 1" in line.plain


def test_what_a_model_writes_while_it_trains_is_a_line_a_prompt(api: FakeApi) -> None:
    task = api.add_task()
    answers = [{"prompt": "Two\x1b[31m?", "text": "It is\n" + "four " * 99, "finish_reason": "length"},
               {"prompt": "Why?", "text": "So.", "finish_reason": "stop"}]  # fmt: skip
    api.append(task.id, {"kind": "samples", "step": 5, "answers": answers, "seconds": 0.5})
    line = Board(task).take(api.events[task.id][-1])
    assert line is not None
    first, second = line.plain.splitlines()
    assert first.startswith("step 5: Two")
    assert "→ It is four four" in first
    assert len(first) < 200
    assert "\x1b" not in first
    assert second == "step 5: Why? → So."


def test_what_is_measured_of_a_checkpoint_is_no_progress(api: FakeApi) -> None:
    """An evaluation of checkpoint 25 that has asked 24 of 24 samples is at 100 %, not at 104 %."""
    task = api.add_task()
    api.append(
        task.id,
        {"kind": "progress", "step": 24, "total_steps": 24},
        {"kind": "metrics", "step": 25, "values": {"composite": 0.5}},
    )
    board = Board(task)
    for event in api.events[task.id]:
        board.take(event)
    assert board.percent == 100


def test_no_curve_without_two_points() -> None:
    assert loss_curve(views.Metrics(series={})) == ""


def test_a_curve_without_unicode_is_ascii(api: FakeApi) -> None:
    api.run_to(api.add_task().id, State.COMPLETED, Reason.COMPLETED)
    with Client(api.url, KEY) as client:
        found = client.metrics(f"task-{1:018}")
    assert loss_curve(found, ascii_only=True).isascii()
    assert "*" in loss_curve(found, ascii_only=True)


def test_the_server_going_away_does_not_end_the_watch(api: FakeApi) -> None:
    task = api.add_task()
    api.append(task.id, {"kind": "state", "state": "running"})
    console = Console(width=80, file=io.StringIO())

    def restart() -> None:
        api.kill()
        api.run_to(task.id, State.COMPLETED, Reason.COMPLETED)
        api.start()

    restarts = threading.Timer(0.3, restart)
    restarts.start()
    with Client(api.url, KEY) as client:
        assert watch_task(client, task.id, console).state is State.COMPLETED
    restarts.join()


# A shell's background job is started with the interrupt ignored, and its children inherit that.
_INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from tunesmith.cli.main import main; main()"
)


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_leaves_the_task_running(api: FakeApi, terminal: bool) -> None:
    task = api.add_task()
    api.append(task.id, {"kind": "state", "state": "running"})
    environment = os.environ | {"TUNESMITH_URL": api.url, "TUNESMITH_API_KEY": KEY, "TERM": "xterm"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, "watch", task.id],
        env=environment,
        stdout=theirs if terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    while not api.last_event_ids:  # it streams now
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    os.close(ours)
    assert process.returncode == 130
    assert f"Detached: the task goes on. Follow it with `tunesmith watch {task.id}`" in said
    assert "Traceback" not in said
    assert api.tasks[task.id].state is State.RUNNING
    assert ("POST", f"/v1/tasks/{task.id}:stop") not in api.requests
