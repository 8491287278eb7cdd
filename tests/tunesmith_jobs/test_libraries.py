"""What the heavy libraries read when they are imported is set before they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith_jobs

_PREPARED = sorted(
    ".".join(file.relative_to(Path(tunesmith_jobs.__path__[0]).parent).with_suffix("").parts)
    for file in Path(tunesmith_jobs.__path__[0]).rglob("*.py")
    if "prepare_libraries()" in file.read_text() and file.name != "libraries.py"
)
"""Modules that have the libraries set and imported."""


def said(program: str, **environment: str) -> str:
    """What a program prints in a process of its own, whose environment says nothing of how threads wait."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    given = {name: value for name, value in os.environ.items() if name not in names}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=given | environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_nobody_imports_torch_before_it_is_set_how_threads_wait() -> None:
    """libgomp reads it once, when torch brings it; after that it would be without effect."""
    assert "tunesmith_jobs.train.core" in _PREPARED
    loads = f"import importlib, sys; [importlib.import_module(name) for name in {_PREPARED}]"
    asked = f"{loads}; print('torch' in sys.modules)"
    assert said(asked) == "False"


@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
    ids=["by itself", "a count", "a policy"],
)
def test_threads_that_wait_sleep_soon_unless_somebody_said_otherwise(
    environment: dict[str, str], spins: str | None
) -> None:
    """Awake they take each other's processor beside other work; asleep at once they cost a quiet machine a seventh."""
    asked = (
        "import os; from tunesmith_jobs.models.libraries import let_waiting_threads_sleep as sleep; sleep(); "
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    assert said(asked, **environment) == str(spins)
