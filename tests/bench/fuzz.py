"""Many generated calls over the whole API, in process: kinds of failures, each with a call that shows it.

    .venv/bin/python tests/bench/fuzz.py --calls 200000 --seconds 3600 --seed 1

A round makes some calls of each operation under a seed of its own, which is printed: `--seed` goes on from there. Ends
with 1 where anything was found.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api_fuzz import Fuzz
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.home import Home

EACH = 40
"""Calls of an operation in a round."""


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    logging.disable(logging.ERROR)
    deadline, seed, calls = time.monotonic() + wanted.seconds, wanted.seed, 0
    found: dict[str, str] = {}
    while calls < wanted.calls and time.monotonic() < deadline:
        # A plane of its own: what one round made would fill the lists of the next.
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder) / "home")
            home.create()
            plane = Plane(home, max_concurrent_jobs=8)
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
        seed += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
