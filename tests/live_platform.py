"""A running platform as the end-to-end tests see it: its start, client, rows, and a run that nothing happened to."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from short_tasks import STEPS, completed, losses, submit_short, wait_warm, write_dialogues

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.views import TaskView


class Platform:
    """A running platform as the tests see it.

    Args:
        home: Its state folder.
        model: What its tasks start from.
        is_warm: Whether a warm runner is waited for before a task is submitted.
    """

    def __init__(self, home: Home, model: Path, *, is_warm: bool) -> None:
        self.home, self.model, self._is_warm = home, model, is_warm
        self.client = Client(home=home)
        self.folder = home.root.parent
        """Tasks may read from here."""
        self.rows = write_dialogues(self.folder / "rows.jsonl")
        self._undisturbed: TaskView | None = None
        self._losses: dict[int, float] = {}

    def submit(self, **spec: Any) -> TaskView:
        """Submit a task of `STEPS` steps."""
        if self._is_warm:
            wait_warm(self.client)
        return submit_short(self.client, self.model, self.rows, STEPS, **spec)

    def losses(self, task: TaskView) -> dict[int, float]:
        """Step -> loss."""
        return losses(self.client, task)

    @property
    def undisturbed(self) -> TaskView:
        """A task that nothing happened to, at its end; the first test that asks has it run."""
        if self._undisturbed is None:
            done = completed(self.client, self.submit())
            self._losses = losses(self.client, done)
            assert sorted(self._losses) == list(range(1, STEPS + 1))
            self._undisturbed = done
        return self._undisturbed

    @property
    def expected(self) -> dict[int, float]:
        """The losses of a run that nothing happened to."""
        assert self.undisturbed
        return self._losses


@contextlib.contextmanager
def platform_up(
    root: Path, model: Path, warm_runners: int, options: Sequence[str] = (), **environment: str
) -> Iterator[Home]:
    """The whole platform, started by `tunesmith up` as a user does, and ended by `tunesmith down`."""
    given = {"TUNESMITH_HOME": str(root / "home"), "TUNESMITH_WARM_RUNNERS": str(warm_runners)}
    given = {**os.environ, **given, **environment}
    tunesmith = Path(sys.executable).parent / "tunesmith"
    allow = ["--allow", str(root), "--allow", str(model.parent)]
    subprocess.run([tunesmith, "up", *allow, *options], env=given, check=True, timeout=180)
    try:
        yield Home(root / "home")
    finally:
        subprocess.run([tunesmith, "down"], env=given, check=True, timeout=120)
