"""What `up` promises when parts, the supervisor, or everything is killed: on stand-ins, with real processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from required import require
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform.embedded import watching
from tunesmith_platform.embedded.parts import choose_ports, environment, parts
from tunesmith_platform.embedded.processes import MARK, end, mark, ours, same_process, ticks_of
from tunesmith_platform.embedded.record import Record, note_ended, read_record, write_record
from tunesmith_platform.embedded.supervisor import ENDED
from tunesmith_platform.embedded.watching import SupervisorWatch
from tunesmith_platform.hub import Hub

Start = Callable[..., "subprocess.Popen[bytes]"]
NAMES = ("ray", "mlflow", "api")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr("tunesmith_platform.embedded.processes.GRACE_SECONDS", 0.5)
    home = Home(tmp_path / "a state folder")
    yield home
    end(home)


@pytest.fixture
def start(state: Home) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(sick_seconds: float = 30, wait: bool = True) -> "subprocess.Popen[bytes]":
        state.create()
        environment = {**os.environ, "TUNESMITH_HOME": str(state.root), MARK: mark(state, "supervisor")}
        with (state.logs / "supervisor.log").open("ab") as log:
            program = [
                sys.executable,
                str(Path(__file__).with_name("stand_in_platform.py")),
                str(sick_seconds),
            ]
            process = subprocess.Popen(program, env=environment, stderr=log, start_new_session=True)
        started.append(process)
        if wait:
            wait_until(lambda: read_record(state).supervisor.pid == process.pid, what="the supervisor")
            wait_until(lambda: all_healthy(state), what="three healthy parts")
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)


def all_healthy(home: Home) -> bool:
    parts = read_record(home).parts
    return set(parts) == set(NAMES) and all(part.state == "healthy" for part in parts.values())


def pids(record: Record) -> dict[str, int | None]:
    return {name: part.pid for name, part in record.parts.items()}


def child_of_ray(home: Home) -> int:
    return int((home.root / "ray-child").read_text())


def lives(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid), what="the death of a killed process")


def test_sigterm_ends_everything_and_nothing_else(state: Home, start: Start, tmp_path: Path) -> None:
    bystander = Home(tmp_path / "a state folder 2")
    environment = {**os.environ, MARK: mark(bystander, "ray")}
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment)
    try:
        supervisor = start()
        before, child = pids(read_record(state)), child_of_ray(state)
        supervisor.terminate()
        supervisor.wait(40)
        assert not any(lives(pid) for pid in [*before.values(), child])
        assert ours(state) == []
        assert {part.state for part in read_record(state).parts.values()} == {"stopped"}
        assert [process.pid for process in ours(bystander)] == [other.pid]
    finally:
        other.kill()
        other.wait(10)


def test_a_killed_part_comes_back_alone_and_what_it_left_is_ended(state: Home, start: Start) -> None:
    start()
    before, child = read_record(state), child_of_ray(state)
    kill(before.parts["ray"].pid)
    wait_until(
        lambda: read_record(state).parts["ray"].restarts == 1 and all_healthy(state), what="Ray's return"
    )
    after = read_record(state)
    assert not lives(child), "what the killed part left must not live beside the new one"
    assert after.parts["ray"].pid != before.parts["ray"].pid
    assert after.ports == before.ports
    for name in ("mlflow", "api"):
        assert (after.parts[name].pid, after.parts[name].restarts) == (before.parts[name].pid, 0)


def test_a_part_that_hangs_is_restarted(state: Home, start: Start) -> None:
    start(sick_seconds=1)
    hung = read_record(state).parts["api"].pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: read_record(state).parts["api"].restarts == 1 and all_healthy(state), what="a new API")
    assert not lives(hung)


def test_a_new_supervisor_takes_over_what_lives(state: Home, start: Start) -> None:
    start()
    before, child = pids(read_record(state)), child_of_ray(state)
    kill(read_record(state).supervisor.pid)
    start()
    assert pids(read_record(state)) == before
    assert lives(child)
    # A process taken over is no child of ours: its end must be noticed all the same.
    kill(before["mlflow"])
    wait_until(
        lambda: read_record(state).parts["mlflow"].restarts == 1 and all_healthy(state), what="its return"
    )


def test_a_busy_part_is_taken_over_too(state: Home, start: Start) -> None:
    """Ray may not answer for some seconds on a loaded machine; ending it would end every training."""
    start()
    before = pids(read_record(state))
    kill(read_record(state).supervisor.pid)
    assert before["ray"] is not None
    os.kill(before["ray"], signal.SIGSTOP)
    second = start(wait=False)
    wait_until(lambda: read_record(state).supervisor.pid == second.pid, what="the second supervisor")
    wait_until(lambda: read_record(state).parts["ray"].state == "unwell", what="Ray seen unwell")
    os.kill(before["ray"], signal.SIGCONT)
    wait_until(lambda: all_healthy(state), what="Ray well again")
    assert pids(read_record(state)) == before


def test_after_everything_was_killed_a_start_cleans_up_and_keeps_its_ports(state: Home, start: Start) -> None:
    start()
    before, child = read_record(state), child_of_ray(state)
    for pid in (before.supervisor.pid, *pids(before).values()):
        kill(pid)
    assert [process.pid for process in ours(state)] == [child], "found without a mark, by its session"
    start()
    after = read_record(state)
    assert not lives(child)
    assert after.ports == before.ports
    assert not set(pids(after).values()) & set(pids(before).values())


def test_a_port_that_was_taken_in_between_is_replaced(state: Home, start: Start) -> None:
    supervisor = start()
    before = read_record(state).ports
    supervisor.terminate()
    supervisor.wait(40)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", before["mlflow"]))
        thief.listen()
        start()
        after = read_record(state).ports
    assert after["mlflow"] != before["mlflow"]
    assert after["api"] == before["api"]
    assert state.connection().mlflow_url == f"http://127.0.0.1:{after['mlflow']}"


def test_two_supervisors_at_once_are_one(state: Home, start: Start) -> None:
    both = [start(wait=False), start(wait=False)]
    wait_until(lambda: any(process.poll() is not None for process in both), what="one to give way")
    wait_until(lambda: all_healthy(state), what="three healthy parts")
    assert sorted(process.poll() is None for process in both) == [False, True]
    assert next(process.returncode for process in both if process.poll() is not None) == 9
    assert len(ours(state, "api")) == 1


def test_a_full_disk_does_not_stop_the_supervision(state: Home, start: Start) -> None:
    """The record cannot be written (a folder lies where its new file goes), as on a full disk."""
    start()
    before = read_record(state)
    (state.root / "parts.part").mkdir()
    kill(before.parts["api"].pid)
    wait_until(lambda: len(ours(state, "api")) == 1, what="the API's return")
    (state.root / "parts.part").rmdir()
    kill(ours(state, "api")[0].pid)
    wait_until(
        lambda: read_record(state).parts["api"].restarts == 2 and all_healthy(state), what="a new record"
    )
    assert (state.logs / "supervisor.log").read_text().count("cannot be written") == 1


def test_a_pid_given_to_another_is_not_ours(state: Home) -> None:
    """After a reboot the recorded pid may be anything: it is told by when it began."""
    state.create()
    me = psutil.Process()
    record = Record.model_validate({"parts": {"ray": {"pid": me.pid, "ticks": 1}}})
    state.parts.write_text(record.model_dump_json())
    assert same_process(me.pid, 1) is None
    assert ours(state) == []


def test_processes_whose_session_began_outside_a_container_are_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "a state folder 3")
    monkeypatch.setattr("tunesmith_platform.embedded.processes._session", lambda pid: 0)
    environment = {**os.environ, MARK: mark(home, "ray")}
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(program, env=environment) as marked, subprocess.Popen(program) as stranger:
        try:
            found = [process.pid for process in ours(home)]
            assert found == [marked.pid]
            assert stranger.pid not in found
        finally:
            marked.kill()
            stranger.kill()


def test_a_session_without_its_leader_is_ours_only_if_nobody_in_it_is_plainly_anothers(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "a state folder 4")
    # A leader that starts a marked process and an unmarked one, and goes.
    program = (
        "import os, subprocess, sys\n"
        "nap = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        f"a = subprocess.Popen(nap, env={{**os.environ, {MARK!r}: {mark(home, 'ray')!r}}}, stdout=-3)\n"
        "b = subprocess.Popen(nap, stdout=-3)\n"
        "print(a.pid, b.pid)\n"
    )
    leader = subprocess.run(
        [sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE, check=True, text=True
    )
    marked, stranger = (int(pid) for pid in leader.stdout.split())
    try:
        assert [process.pid for process in ours(home)] == [marked]
    finally:
        os.kill(marked, signal.SIGKILL)
        os.kill(stranger, signal.SIGKILL)


# --- the API and the supervisor start each other again


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Home]:
    started: list[Home] = []
    monkeypatch.setattr(watching, "start_supervisor", lambda home, _shell: started.append(home))
    return started


def recorded(home: Home, **supervisor: object) -> SupervisorWatch:
    home.create()
    write_record(home, Record.model_validate({"supervisor": {"state": "healthy", **supervisor}}))
    return SupervisorWatch(home, Hub(), {})


def test_the_api_starts_a_supervisor_that_has_died_and_waits_for_it(state: Home, starts: list[Home]) -> None:
    watch = recorded(state, pid=os.getpid(), ticks=1)
    watch.tick()
    watch.tick()
    assert starts == [state], "it has not had the time to say that it runs"


def test_the_api_starts_none_where_one_lives_or_was_told_to_end(state: Home, starts: list[Home]) -> None:
    me = {"pid": os.getpid(), "ticks": ticks_of(os.getpid())}
    recorded(state, **me).tick()
    recorded(state).tick()  # it runs without one
    recorded(state, pid=os.getpid(), ticks=1, **{"state": "stopped"}).tick()
    watch = recorded(state, pid=os.getpid(), ticks=1)
    note_ended(state, True)
    watch.tick()
    assert starts == []
    note_ended(state, False)
    watch.tick()
    assert starts == [state]


def test_a_supervisor_that_was_killed_is_started_by_the_api_and_takes_over(
    state: Home, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    before = pids(read_record(state))
    program = [sys.executable, str(Path(__file__).with_name("stand_in_platform.py")), "30"]
    monkeypatch.setattr(watching, "supervisor_command", lambda _ray_cpus=None: program)
    watch = SupervisorWatch(state, Hub(), os.environ)
    first = read_record(state).supervisor.pid
    kill(first)
    watch.pause()  # ends at once: it waits for that process
    watch.tick()
    wait_until(lambda: read_record(state).supervisor.pid != first, what="another supervisor")
    second = read_record(state).supervisor.pid
    assert second is not None
    try:
        wait_until(lambda: all_healthy(state), what="three healthy parts")
        assert pids(read_record(state)) == before
        assert psutil.Process(second).ppid() != os.getpid(), "ending the API's processes must not end it"
        assert [process.pid for process in ours(state, "supervisor")] == [second]
    finally:
        os.kill(second, signal.SIGTERM)
        wait_until(lambda: not lives(second), what="its end")


def test_a_part_is_started_again_at_once_and_waits_only_when_it_falls_again(
    state: Home, start: Start
) -> None:
    start()
    for falls in (1, 2, 3):
        kill(read_record(state).parts["api"].pid)
        wait_until(
            lambda falls=falls: read_record(state).parts["api"].restarts == falls and all_healthy(state),  # type: ignore[misc]
            what="its return",
        )
    said = (state.logs / "supervisor.log").read_text()
    assert [line[-3:] for line in said.splitlines() if "restarting in" in line] == ["0 s", "1 s", "2 s"]


def test_what_the_api_starts_a_supervisor_with_is_what_it_was_started_with(
    state: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API itself has few of the variables that Ray's workers need."""
    monkeypatch.setenv("HF_HOME", "/models")
    state.create()
    api = parts(state, choose_ports({}), None)[2]
    given = environment(state, api)
    assert "HF_HOME" not in given
    monkeypatch.setattr(os, "environ", dict(given))
    inherited = watching.inherited()
    assert inherited is not None
    assert watching.supervisor_environment(state, inherited)["HF_HOME"] == "/models"
    assert watching.inherited() is None
    kept = environment(state, parts(state, choose_ports({}), None, is_kept=True)[2])
    assert watching.INHERITED not in kept, "systemd starts it again"


def test_the_unit_is_one_that_systemd_takes(state: Home, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    require(tool, "`systemd-analyze`")
    assert tool
    unit = Path(__file__).parents[3] / "infra" / "systemd" / "tunesmith.service"
    text = unit.read_text()
    assert "Restart=always" in text
    assert f"RestartPreventExitStatus={ENDED}" in text
    copy = tmp_path / unit.name
    copy.write_text(text.replace("%h/tunesmith/.venv/bin/tunesmith", sys.executable))
    said = subprocess.run([tool, "verify", "--user", copy], capture_output=True, text=True, check=False)
    complaints = [line for line in said.stderr.splitlines() if unit.name in line]
    assert complaints == []
    assert "up --foreground" in text
