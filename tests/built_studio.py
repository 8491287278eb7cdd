"""The studio's pages, built where they are not yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def build_studio() -> None:
    """Have the studio built. Without the npm registry there is none to test; CI wants one all the same."""
    done = subprocess.run(
        [sys.executable, ROOT / "infra" / "scripts" / "studio.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2 and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
