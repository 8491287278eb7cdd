"""`up`, `status`, `logs`, `doctor` where nothing runs, and what they refuse."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from waiting import free_port

from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.home import Home
from tunesmith_platform.embedded import doctor as checks
from tunesmith_platform.embedded.commands import app
from tunesmith_platform.embedded.parts import PORT_NAMES, choose_ports, environment, parts, ray_folder
from tunesmith_platform.embedded.processes import MARK, mark
from tunesmith_platform.embedded.record import is_ended
from tunesmith_platform.embedded.rotating import rotate
from tunesmith_platform.hardware import Gpu, Hardware


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "state"))
    return Home()


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the supervisor must not be started")

    monkeypatch.setattr("tunesmith_platform.embedded.watching.start_supervisor", refuse)


def test_nothing_runs(state: Home) -> None:
    answer = CliRunner().invoke(app, ["status", "--json"])
    assert answer.exit_code == 3
    assert json.loads(answer.stdout)["parts"] == []
    assert CliRunner().invoke(app, ["down"]).exit_code == 0
    failure = CliRunner().invoke(app, ["logs", "ray"]).exception
    assert isinstance(failure, Unavailable)


def test_up_refuses_a_folder_that_is_not_there(state: Home, no_start: None) -> None:
    failure = CliRunner().invoke(app, ["up", "--allow", "/no/such/folder"]).exception
    assert isinstance(failure, InvalidInput)
    assert "/no/such/folder" in failure.message
    assert not state.allowed_roots_file.exists()


def test_up_refuses_a_state_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_start: None
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "file" / "state"))
    failure = CliRunner().invoke(app, ["up"]).exception
    assert isinstance(failure, Unavailable)
    assert "TUNESMITH_HOME" in (failure.hint or "")


def test_up_says_at_once_that_the_disk_is_full(
    state: Home, monkeypatch: pytest.MonkeyPatch, no_start: None
) -> None:
    full = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    failure = CliRunner().invoke(app, ["up"]).exception
    assert isinstance(failure, Unavailable)
    assert "Only 1 MiB" in failure.message


def test_logs_prints_the_last_lines(state: Home) -> None:
    state.create()
    (state.logs / "api.log").write_text("".join(f"line {n}\n" for n in range(50)))
    assert CliRunner().invoke(app, ["logs", "api", "-n", "2"]).stdout == "line 48\nline 49\n"


def test_a_large_log_is_put_aside_and_three_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    for start in range(5):
        with log.open("wb") as stream:
            stream.write(str(start).encode())
            stream.truncate(21 * 2**20)
        rotate(log)
    assert not log.exists()
    kept = sorted(tmp_path.iterdir())
    assert [file.name for file in kept] == ["ray.log.1", "ray.log.2", "ray.log.3"]
    firsts = []
    for file in kept:
        with file.open("rb") as stream:
            firsts.append(stream.read(1))
    assert firsts == [b"4", b"3", b"2"]
    log.write_text("small")
    rotate(log)
    assert log.exists()


def test_every_part_listens_on_loopback_alone(state: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    monkeypatch.setenv("TUNESMITH_HOST", "0.0.0.0")
    state.create()
    ray, mlflow, api = parts(state, choose_ports({}), 2)
    assert "--node-ip-address=127.0.0.1" in ray.command
    assert ray.environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert ray.environment["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] == "0", (
        "a process that has nothing to watch"
    )
    assert mlflow.command[mlflow.command.index("--host") + 1] == "127.0.0.1"
    for part in (ray, mlflow, api):
        given = environment(state, part)
        assert not given.keys() & {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "TUNESMITH_HOST"}
        assert given["TUNESMITH_HOME"] == str(state.root)
    token = state.ray_token_file.read_text()
    assert not any(token in word for part in (ray, mlflow, api) for word in part.command)


def test_ports_differ_and_a_remembered_one_stays() -> None:
    first = choose_ports({})
    assert set(first) == set(PORT_NAMES)
    assert len(set(first.values())) == len(PORT_NAMES)
    assert choose_ports(first) == first


def test_who_seeds_chance_alike_gets_other_ports() -> None:
    """A training seeds `random`: two that draw at one time would draw the same, and one of them fail to listen."""
    for draw in (free_port, lambda: tuple(choose_ports({}).values())):
        found = set()
        for _ in range(3):
            random.seed(42)
            found.add(draw())
        assert len(found) > 1


def test_a_long_state_folder_does_not_lengthen_rays_sockets(tmp_path: Path) -> None:
    folder = ray_folder(Home(tmp_path / ("a" * 200)))
    longest = f"{folder}/session_2026-11-21_04-46-31_097875_1234567/sockets/plasma_store"
    assert len(longest) < 107


def test_bf16_is_what_would_train_can_do() -> None:
    def machine(flags: set[str], *capabilities: float) -> Hardware:
        gpus = tuple(Gpu(name="g", memory_bytes=1, compute_capability=c) for c in capabilities)
        return Hardware(cpu_name="c", cpus=1, cpu_flags=frozenset(flags), gpus=gpus)

    assert not machine({"avx512f"}).supports_bf16
    assert machine({"amx_bf16"}).supports_bf16
    assert machine({"avx512_bf16"}).supports_bf16
    assert machine(set(), 8.0, 9.0).supports_bf16
    assert not machine({"amx_bf16"}, 7.5).supports_bf16


def test_the_doctor_names_a_cure_for_all_that_is_not_ok(
    state: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").touch()  # a file where the state folder should be
    full = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    found = {finding.what: finding for finding in checks.examine(state)}
    assert found["Disk"].verdict is checks.Verdict.PROBLEM
    assert found["State folder"].verdict is checks.Verdict.PROBLEM
    assert found["Environment"].verdict is checks.Verdict.WARNING
    assert all(finding.cure for finding in found.values() if finding.verdict is not checks.Verdict.OK)
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1
    as_json = CliRunner().invoke(app, ["doctor", "--json"])
    assert as_json.exit_code == 1
    assert {row["what"] for row in json.loads(as_json.stdout)} == set(found)


def test_the_doctor_warns_of_a_network_file_system(state: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    root = psutil.disk_partitions(all=True)[0]._replace(mountpoint="/", fstype="ext4")
    there = root._replace(mountpoint=os.path.realpath(state.root.parent), fstype="nfs4")
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: [root, there])
    found = next(finding for finding in checks.examine(state) if finding.what == "File system")
    assert (found.verdict, found.found) == (checks.Verdict.WARNING, "`nfs4`, over a network")


def test_down_is_remembered_until_up(state: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts any of the platform in between: not the API, nor systemd."""
    state.create()
    assert not is_ended(state)
    CliRunner().invoke(app, ["down"])
    assert is_ended(state)
    become: list[Any] = []

    def leave(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        become.extend([program, arguments, environment])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", leave)
    monkeypatch.chdir(state.root)
    assert CliRunner().invoke(app, ["up", "--foreground", "--ray-cpus", "2"]).exit_code == 0
    assert not is_ended(state)
    assert become[1][1:] == ["-m", "tunesmith_platform.embedded.supervisor", "--ray-cpus=2", "--foreground"]
    assert become[2][MARK] == mark(state, "supervisor")
