"""What CI runs once more: few tests, each by itself; what fails again fails, and so does all else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "infra" / "scripts" / "once_more.py"

TESTS = """
from pathlib import Path

def test_unstable():
    mark = Path(__file__).with_name("was-here")
    was_here = mark.exists()
    mark.touch()
    assert was_here

def test_wrong():
    assert not Path(__file__).with_name("is-wrong").exists()

def test_right():
    pass
"""


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Without the plugins that lie in the environment: to load them takes longer than all else here."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A project whose runs say how they ended, as ours do."""
    ours = (ROOT / "tests" / "conftest.py").read_text()
    begin = ours.index("def pytest_sessionfinish")
    hook = ours[begin : ours.index("\n\n\n", begin)]
    (tmp_path / "conftest.py").write_text(f"import pytest\n\n{hook}\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def test_a_failure_that_passes_by_itself_is_named_and_no_failure(failed: Path) -> None:
    assert _run(failed, "-m", "pytest", "-q").returncode == 1
    again = _run(failed, str(SCRIPT))
    assert again.returncode == 0, again.stdout
    assert "UNSTABLE" in again.stdout
    assert again.stdout.rstrip().endswith("test_some.py::test_unstable")
    assert "1 passed" in again.stdout


def test_one_that_fails_again_fails_the_run(failed: Path) -> None:
    (failed / "is-wrong").touch()
    assert _run(failed, "-m", "pytest", "-q").returncode == 1
    again = _run(failed, str(SCRIPT))
    assert again.returncode == 1
    assert again.stdout.rstrip().endswith("FAILED TWICE:\n  test_some.py::test_wrong")


@pytest.mark.parametrize("how", ["-x", "interrupted"])
def test_a_run_that_did_not_come_to_its_end_fails(failed: Path, how: str) -> None:
    """Its one failure may pass now; of the tests behind it nobody knows."""
    if how == "interrupted":
        (failed / "test_some_more.py").write_text("def test_cut():\n    raise KeyboardInterrupt\n")
    _run(failed, "-m", "pytest", "-q", *(["-x"] if how == "-x" else []))
    again = _run(failed, str(SCRIPT))
    assert (again.returncode, again.stdout) == (1, "")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="none"),
        pytest.param([f"test_some.py::test_{number}" for number in range(4)], id="more than a few"),
        pytest.param(["test_some.py"], id="a file that cannot be read"),
        pytest.param(None, id="the run did not come to its tests"),
    ],
)
def test_nothing_else_is_run_again(failed: Path, names: list[str] | None) -> None:
    if names is not None:
        cache = failed / ".pytest_cache" / "v"
        for name, value in (("cache/lastfailed", dict.fromkeys(names, True)), ("tunesmith/exit_status", 1)):
            (cache / name).parent.mkdir(parents=True)
            (cache / name).write_text(json.dumps(value))
    again = _run(failed, str(SCRIPT))
    assert (again.returncode, again.stdout) == (1, "")


def test_ci_alone_does_so() -> None:
    assert "make test || .venv/bin/python infra/scripts/once_more.py" in (ROOT / ".ci" / "run").read_text()
    assert "once_more" not in (ROOT / "Makefile").read_text()
