"""The workers that read strangers' files: their bounds, whose turn it is, how they end."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from hostile import GROWING, SLOW
from tiny_model import CHATML, make_tokenizer_folder
from waiting import wait_until

from tunesmith.errors import CheckFailed, InvalidInput, InvalidModel, NotFound, Unavailable
from tunesmith.spec.training import TrainSpec
from tunesmith_platform import caller
from tunesmith_platform.caller import Caller, LoopCaller
from tunesmith_platform.sandbox import awaiting, pool
from tunesmith_platform.sandbox.pool import Limits, Sandbox

MEMORY = 300 * 2**20
YAML = {"yaml": "name: mine\nparameters: {}\n"}


class Bench:
    """A sandbox, and threads that ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.threads = ThreadPoolExecutor(8)
        self.open: list[Sandbox] = []
        self.pipes: list[Path] = []

    def sandbox(self, processes: int, **options: int) -> Sandbox:
        self.open.append(Sandbox(processes=processes, **({"niceness": 0} | options)))
        return self.open[-1]

    def held(self, sandbox: Sandbox, name: str, about: str, who: Caller | None = None) -> "Held":
        """Work that waits for a pipe: it takes as long as the test wants."""
        pipe = self.folder / name
        os.mkfifo(pipe)
        self.pipes.append(pipe)
        return Held(self.asked(sandbox, "adapter_base", {"file": str(pipe)}, about, who), pipe)

    def asked(
        self, sandbox: Sandbox, name: str, argument: dict[str, Any], about: str, who: Caller | None = None
    ) -> "Future[bytes]":
        def ask() -> bytes:
            caller._current.set(who or Caller())
            return sandbox.run(name, argument, about=about)

        return self.threads.submit(ask)

    def close(self) -> None:
        for sandbox in self.open:
            sandbox.close()
        self.threads.shutdown()


class Held:
    def __init__(self, answer: "Future[bytes]", pipe: Path) -> None:
        self.answer = answer
        self.pipe = pipe
        self._handle: int | None = None

    def is_read(self) -> bool:
        """Whether a worker has opened the pipe, that is: works on it."""
        if self._handle is None:
            try:
                self._handle = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
        poll = select.poll()
        poll.register(self._handle, 0)
        return not poll.poll(0)  # else POLLERR: its reader is gone

    def release(self) -> bytes:
        """Let it be answered."""
        wait_until(self.is_read, 60, "the held work's turn")
        self.answer_it()
        return self.answer.result(60)

    def answer_it(self) -> None:
        """Let the work that has its turn end. The pipe looks as it did: no file that was changed meanwhile."""
        assert self._handle is not None
        changed = self.pipe.stat().st_mtime_ns
        os.write(self._handle, b'{"base_model_name_or_path": "base"}')
        os.utime(self.pipe, ns=(changed, changed))
        os.close(self._handle)


class Client(Caller):
    """A caller that leaves when told."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self._told: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def watched(self, left: Callable[[], None]) -> Iterator[None]:
        self._told.append(left)
        yield

    def leave(self) -> None:
        for left in self._told:
            left()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def preview(folder: Path, template: str) -> dict[str, Any]:
    model = make_tokenizer_folder(folder / "model", template=template)
    file = folder / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n")
    spec = TrainSpec.read({"model_name_or_path": "-", "train_file": "-"}).model_dump(mode="json")
    return {
        "file": str(file), "spec": spec, "model": str(model), "tokenizer": None, "rows": [], "first": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("template", "limits", "bound"),
    [
        (SLOW, Limits(seconds=0.3), "seconds"),
        (GROWING, Limits(), "memory"),
        (None, Limits(answer_bytes=200), "answer"),
    ],
)
def test_a_breach_is_told_and_its_worker_replaced(
    bench: Bench, tmp_path: Path, template: str | None, limits: Limits, bound: str
) -> None:
    sandbox = bench.sandbox(1, memory_bytes=MEMORY)
    sandbox.run("template", YAML, about="yaml")
    (before,) = sandbox.workers()
    argument = preview(tmp_path, template) if template else preview(tmp_path, CHATML)
    with pytest.raises(CheckFailed) as caught:
        sandbox.run("previewed", argument, about="a", limits=limits)
    assert (caught.value.details["bound"], caught.value.code) == (bound, "check_failed")
    assert caught.value.hint
    assert not before.is_alive()
    assert json.loads(sandbox.run("template", YAML, about="yaml"))["name"] == "mine"
    assert sandbox.workers()[0].pid != before.pid


def test_errors_arrive_as_what_they_are(bench: Bench, tmp_path: Path) -> None:
    sandbox = bench.sandbox(1)
    argument = preview(tmp_path, CHATML)
    with pytest.raises(NotFound, match="no row 7") as missing:
        sandbox.run("previewed", argument | {"rows": [7]}, about="a")
    assert missing.value.hint
    with pytest.raises(InvalidModel) as broken:
        sandbox.run("previewed", argument | {"model": str(tmp_path)}, about="a")
    assert [problem.field for problem in broken.value.problems]
    with pytest.raises(InvalidInput, match="no YAML aliases"):
        sandbox.run("template", {"yaml": "a: &b [1]\nc: *b\n"}, about="yaml")
    with pytest.raises(NotADirectoryError) as system:
        sandbox.run("count_into", argument | {"target": f"{argument['file']}/counts/a.npz"}, about="a")
    assert str(system.value.filename).startswith(argument["file"])
    (worker,) = sandbox.workers()
    assert worker.is_alive()


def test_a_worker_that_was_killed_costs_its_work_nothing(bench: Bench) -> None:
    sandbox = bench.sandbox(1)
    held = bench.held(sandbox, "pipe", "a")
    wait_until(held.is_read, 60, "the first worker")
    (first,) = sandbox.workers()
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not held.is_read(), what="its end")
    assert json.loads(held.release()) == "base"
    assert sandbox.workers()[0].pid != first.pid


def test_work_that_ends_its_process_is_refused(bench: Bench) -> None:
    sandbox = bench.sandbox(1)
    held = bench.held(sandbox, "pipe", "a")
    killed: set[int] = set()

    def kill() -> bool:
        for worker in sandbox.workers() if held.is_read() else []:
            killed.add(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
        return held.answer.done()

    wait_until(kill, 60, "the end")
    with pytest.raises(CheckFailed) as caught:
        held.answer.result()
    assert caught.value.details == {"bound": "process"}
    assert len(killed) == 2


def test_no_model_takes_every_worker(bench: Bench) -> None:
    sandbox = bench.sandbox(2)
    held = [bench.held(sandbox, f"pipe{number}", "a") for number in range(3)]
    wait_until(lambda: any(one.is_read() for one in held), 60, "a worker")
    other = bench.asked(sandbox, "template", YAML, "b")
    assert json.loads(other.result(60))["name"] == "mine"
    assert sum(one.is_read() for one in held) == 1
    assert not any(one.answer.done() for one in held)
    for one in held:
        one.release()


def test_work_that_had_its_turn_makes_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one processor a template that takes long is begun again later, and another model's is answered first."""
    monkeypatch.setattr(pool, "_TURN_SECONDS", 0.1)
    sandbox = bench.sandbox(1)
    held = bench.held(sandbox, "pipe", "a")
    wait_until(held.is_read, 60, "the worker")
    same = bench.asked(sandbox, "template", YAML, "a")
    other = bench.asked(sandbox, "template", YAML, "b")
    assert json.loads(other.result(60))["name"] == "mine"
    assert json.loads(held.release()) == "base"
    assert json.loads(same.result(60))["name"] == "mine"


def test_whoever_has_few_is_served_before_whoever_has_many(bench: Bench) -> None:
    sandbox = bench.sandbox(1)
    ann, ben = Client("ann"), Client("ben")
    first = bench.held(sandbox, "first", "a", ann)
    wait_until(first.is_read, 60, "the worker")
    many = [bench.held(sandbox, f"pipe{number}", f"m{number}", ann) for number in range(3)]
    wait_until(lambda: len(sandbox._waiting) == 3, what="the queue")
    few = bench.held(sandbox, "few", "z", ben)
    wait_until(lambda: len(sandbox._waiting) == 4, what="the queue")
    first.release()
    wait_until(few.is_read, 60, "the other owner's turn")
    assert not any(one.answer.done() for one in many)
    for one in [few, *many]:
        one.release()


def test_what_is_over_the_queue_is_told_to_come_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_OF_ONE_OWNER", 2)
    monkeypatch.setattr(pool, "MAX_WAITING", 3)
    sandbox = bench.sandbox(1)
    ann, ben = Client("ann"), Client("ben")
    held = [bench.held(sandbox, f"pipe{number}", "a", ann) for number in range(2)]
    wait_until(lambda: len(sandbox._waiting) == 1, what="the queue")
    with pytest.raises(Unavailable, match="wait or are under way"):
        bench.asked(sandbox, "template", YAML, "b", ann).result()
    held.append(bench.held(sandbox, "pipe2", "b", ben))
    wait_until(lambda: len(sandbox._waiting) == 2, what="the queue")
    with pytest.raises(Unavailable):
        bench.asked(sandbox, "template", YAML, "b", Client("eve")).result()
    for one in held:
        one.release()


def test_work_ends_when_its_client_leaves(bench: Bench) -> None:
    sandbox = bench.sandbox(1)
    working, waiting = Client(), Client()
    held = bench.held(sandbox, "pipe0", "a", working)
    wait_until(held.is_read, 60, "the worker")
    (worker,) = sandbox.workers()
    queued = bench.held(sandbox, "pipe1", "a", waiting)
    wait_until(lambda: len(sandbox._waiting) == 1, what="the queue")
    waiting.leave()
    with pytest.raises(Unavailable, match="has left"):
        queued.answer.result(60)
    assert (sandbox._waiting, worker.is_alive()) == ([], True)
    working.leave()
    with pytest.raises(Unavailable, match="has left"):
        held.answer.result(60)
    assert not worker.is_alive()
    assert json.loads(sandbox.run("template", YAML, about="a"))["name"] == "mine"


class Loop(LoopCaller):
    """It goes on at once."""

    patience_seconds = 0.0


def test_a_loop_asks_once_and_looks_again(bench: Bench) -> None:
    """However long its work takes, and whatever stands before it: it is begun once, and goes on meanwhile."""
    sandbox = bench.sandbox(1)
    held = bench.held(sandbox, "before", "a", Client())
    wait_until(held.is_read, 60, "the worker")
    slow = bench.held(sandbox, "slow", "b", Loop())
    with pytest.raises(Unavailable, match="is being checked"):
        slow.answer.result(60)
    held.release()
    wait_until(slow.is_read, 60, "the loop's work, while the loop is away")
    (worker,) = sandbox.workers()

    def ask() -> bytes:
        return bench.asked(sandbox, "adapter_base", {"file": str(slow.pipe)}, "b", Loop()).result(60)

    with pytest.raises(Unavailable, match="is being checked"):
        ask()
    assert slow.is_read()
    slow.answer_it()
    (work,) = sandbox._awaited._known.values()
    work.answer.result(60)
    assert [json.loads(ask()), json.loads(ask())] == ["base", "base"]
    assert sandbox.workers()[0].pid == worker.pid


def test_what_a_loop_is_told_holds_for_the_files_as_they_were(bench: Bench, tmp_path: Path) -> None:
    """A changed file is looked at anew; an error is told once, so that trying again tries again."""
    sandbox = bench.sandbox(1)
    file = tmp_path / "adapter_config.json"
    who = LoopCaller()
    who.patience_seconds = 60.0

    def ask(name: str, **argument: str) -> bytes:
        return bench.asked(sandbox, name, argument, "a", who).result(60)

    for base in ("one", "another"):
        file.write_text(json.dumps({"base_model_name_or_path": base}))
        assert json.loads(ask("adapter_base", file=str(file))) == base
    for _ in range(2):
        with pytest.raises(InvalidInput):
            ask("template", yaml="[")
    assert len(sandbox._awaited._known) == 2


def test_work_that_no_loop_asks_for_any_more_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = bench.sandbox(1)
    slow = bench.held(sandbox, "slow", "b", Loop())
    wait_until(slow.is_read, 60, "the worker")
    monkeypatch.setattr(awaiting, "_FORGOTTEN_SECONDS", 0.0)
    with contextlib.suppress(Unavailable):
        bench.asked(sandbox, "template", YAML, "a", Loop()).result(60)
    wait_until(lambda: not slow.is_read(), 60, "the end of the work")


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """However it ends, and whatever they are busy with: the pipe is never read to its end."""
    os.mkfifo(tmp_path / "pipe")
    code = (
        "from tunesmith_platform.sandbox.pool import Sandbox\n"
        "import sys, threading\n"
        "sandbox = Sandbox(processes=1, niceness=0)\n"
        "sandbox.run('template', {'yaml': 'name: a'}, about='')\n"
        "print(sandbox.workers()[0].pid, flush=True)\n"
        "sandbox.run('adapter_base', {'file': sys.argv[1]}, about='')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    handle = os.open(tmp_path / "pipe", os.O_WRONLY)  # once the worker reads it
    parent.kill()
    parent.wait()
    with contextlib.suppress(psutil.NoSuchProcess):
        wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE, what="the worker's end")
    os.close(handle)


def test_a_worker_is_bound(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowest priority, no secret, no file written, no address space without end, one processor, one group."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TUNESMITH_API_KEY", "secret")
    sandbox = bench.sandbox(1, niceness=pool.LOWEST_PRIORITY)
    argument = preview(tmp_path, CHATML) | {"target": str(tmp_path / "made" / "counts")}
    with pytest.raises(OSError, match="too large"):
        sandbox.run("count_into", argument, about="a")
    worker = psutil.Process(sandbox.workers()[0].pid)
    assert worker.nice() == 19
    names = set(worker.environ())
    assert "PATH" in names
    assert not [name for name in names if name.startswith(("TUNESMITH", "AWS"))]
    assert 0 < worker.rlimit(psutil.RLIMIT_AS)[1] < 2**40
    assert worker.rlimit(psutil.RLIMIT_NOFILE)[1] <= 256
    assert os.getpgid(worker.pid) == worker.pid
    assert not [file for file in tmp_path.rglob("*counts*") if file.is_file() and file.stat().st_size]


def test_at_most_one_a_processor_and_none_before_there_is_work() -> None:
    before = threading.active_count()
    sandbox = Sandbox()
    assert len(sandbox._slots) == len(os.sched_getaffinity(0))
    assert sandbox.workers() == []
    assert threading.active_count() <= before
    sandbox.close()
    with pytest.raises(Unavailable):
        sandbox.run("template", YAML, about="a")
