"""Servers of the API as processes of their own, on one database. No test itself."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx
from given import FOLDER
from waiting import free_port

from tunesmith.home import Home


class Server:
    """A server in a process of its own.

    Args:
        home: The platform's state folder.
        database_url: What it shares with others.
        log: Where it writes.
        more: Further variables of its environment.
    """

    def __init__(self, home: Home, database_url: str, log: Path, **more: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        given = {
            **os.environ,
            "TUNESMITH_HOME": str(home.root),
            "TUNESMITH_DATABASE_URL": database_url,
            "TUNESMITH_PORT": str(port),
            "TUNESMITH_RAY_URL": "http://127.0.0.1:9",
            "TUNESMITH_ALLOWED_ROOTS": f'["{FOLDER}"]',
            "TUNESMITH_CHECK_PROCESSES": "1",
            **more,
        }
        with log.open("ab") as file:
            command = [sys.executable, "-m", "tunesmith_platform.app"]
            self.process = subprocess.Popen(command, env=given, stdout=file, stderr=file)

    def answers(self, path: str = "/healthz") -> bool:
        """Whether it answers a probe."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}{path}", timeout=2).status_code == 200
        return False
