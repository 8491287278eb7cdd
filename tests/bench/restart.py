"""How long the API is away after `kill -9`: until `/healthz` answers, and until a task can be read.

The API as `tunesmith up` starts it, under the real supervisor, without Ray and MLflow. Beside it, in the same run: the
processor time of the new process, and how long a bare `import fastapi, sqlalchemy` takes, the floor of any start.

Run with `python tests/bench/restart.py [KILLS]`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.embedded import supervisor as supervision
from tunesmith_platform.embedded.parts import Part, parts
from tunesmith_platform.embedded.record import read_record

FLOOR = "import fastapi, sqlalchemy.orm, uvicorn, httpx"
GOAL_SECONDS = 5.0


def api_alone(home: Home, ports: dict[str, int], ray_cpus: int | None) -> list[Part]:
    """The API of the three parts."""
    os.environ["TUNESMITH_WARM_RUNNERS"] = "0"
    return [part for part in parts(home, ports, ray_cpus, is_kept=True) if part.name == "api"]


def answered(url: str, key: str, since: float) -> float:
    """Seconds until an address answers 200."""
    with httpx.Client(timeout=1, trust_env=False, headers={"Authorization": f"Bearer {key}"}) as client:
        while True:
            try:
                if client.get(url).status_code == 200:
                    return time.monotonic() - since
            except httpx.HTTPError:
                pass
            time.sleep(0.02)


def floor() -> float:
    """Seconds of a bare start."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", FLOOR], check=True)
    return time.monotonic() - began


def main(kills: int) -> None:
    """Kill the API so many times and print what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.create()
        supervisor = supervision.Supervisor(home, make_parts=api_alone)
        signal.signal = lambda *_: None  # type: ignore[assignment]  # not the main thread's here
        thread = threading.Thread(target=supervisor.run, daemon=True)
        thread.start()
        while not read_record(home).parts or read_record(home).parts["api"].state != "healthy":
            time.sleep(0.1)
        url, key = home.connection().api_url, read_secret(home.api_key_file)
        rows = []
        for _ in range(kills):
            supervision._RAN_WELL_SECONDS = 0.0  # each as the first in a minute
            pid = read_record(home).parts["api"].pid
            assert pid is not None
            bare = floor()
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            health = answered(f"{url}/healthz", key, began)
            reading = answered(f"{url}/v1/tasks", key, began)
            times = psutil.Process(read_record(home).parts["api"].pid).cpu_times()
            rows.append((health, reading, times.user + times.system, health / bare))
        supervisor._leave()
        thread.join(30)
    names = ("healthz_seconds", "reading_seconds", "processor_seconds", "times_a_bare_start")
    columns = {name: sorted(row[at] for row in rows) for at, name in enumerate(names)}
    middle = {name: round(values[len(values) // 2], 2) for name, values in columns.items()}
    worst = round(columns["reading_seconds"][-1], 2)
    print(
        json.dumps({"kills": kills, "median": middle, "worst_reading_seconds": worst, "goal": GOAL_SECONDS})
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
