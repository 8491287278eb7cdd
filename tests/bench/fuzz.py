"""Many generated calls over the whole API, in process: kinds of failures, each with a call that shows it.

    .venv/bin/python tests/bench/fuzz.py --calls 200000 --seconds 3600 --seed 1 --postgresql

A round makes some calls of each operation under a seed of its own, which is printed: `--seed` goes on from there. Ends
with 1 where anything was found.
"""

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api_fuzz import HOST, Fuzz
from conftest_platform import Plane
from fastapi.testclient import TestClient
from real_postgres import own_database, real_postgres

from tunesmith.home import Home
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.schema import migrate

EACH = 40
"""Calls of an operation in a round."""


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="The database is a server.")
    wanted = parser.parse_args()
    logging.disable(logging.ERROR)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(real_postgres()) if wanted.postgresql else ""
        return fuzzed(wanted, server)


def fuzzed(wanted: argparse.Namespace, server: str) -> int:
    """Make the calls, round by round; 1 where anything was found."""
    deadline, seed, calls = time.monotonic() + wanted.seconds, wanted.seed, 0
    found: dict[str, str] = {}
    while calls < wanted.calls and time.monotonic() < deadline:
        # A plane of its own: what one round made would fill the lists of the next.
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            home = Home(Path(folder) / "home")
            home.create()
            url = stack.enter_context(own_database(server)) if server else ""
            if url:
                migrate(Database(url))
            plane = Plane(home, max_concurrent_jobs=8, database_url=url, allowed_hosts=[HOST])
            stack.callback(plane.services.database.close)
            with TestClient(plane.app, raise_server_exceptions=False) as api:
                fuzz = Fuzz(plane, api)
                for operation in fuzz.operations():
                    fuzz.call(operation, EACH, seed)
        calls += fuzz.kinds.calls
        new = {name: words for name, words in fuzz.kinds.found.items() if name not in found}
        found |= new
        print(f"seed {seed}: {calls} calls, {dict(fuzz.kinds.statuses)}, {len(found)} kinds", flush=True)
        for name, words in new.items():
            print(f"--- {name}\n{words}", flush=True)
        if not {200, 201, 404, 422} <= set(fuzz.kinds.statuses):
            print("The calls do not get as far as the endpoints.", flush=True)
            return 1
        seed += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
