"""Whether transformers makes the ids of a model's folder that its `tokenizer.json` says, asked of transformers itself.

It is loaded in a process of its own, which ends with its answer: it takes seconds and hundreds of megabytes, and the
API holds no such library. Only where the packages of training lie beside the platform's; elsewhere the training alone
compares, before its first step. Knows processes; knows no tokenizer.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from tunesmith.availability import is_installed
from tunesmith_platform.sandbox.process import environment

_PROGRAM = "tunesmith_jobs.models.library_tokenizer"
_SECONDS = 120.0
_one_at_a_time = threading.Lock()


class Compared(NamedTuple):
    """What came of a comparison."""

    words: str
    """Where ids differ first; empty where they do not."""
    cure: str
    """What makes them the same."""


def compare_ids(folder: Path) -> Compared | None:
    """Compare a model folder's ids with the library's, on texts of many kinds.

    Args:
        folder: One whose files were looked at and hold no program.

    Returns:
        What was found; None where it cannot be known here.
    """
    if not (is_installed("tunesmith_jobs") and is_installed("transformers")):
        return None
    command = [sys.executable, "-P", "-m", _PROGRAM, str(folder)]
    try:
        with _one_at_a_time:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                cwd="/",
                timeout=_SECONDS,
                check=True,
            )
        found = json.loads(done.stdout)
        return Compared(str(found["words"]), str(found["cure"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
