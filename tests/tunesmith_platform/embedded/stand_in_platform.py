"""A supervisor over three small stand-ins for Ray, MLflow and the API; run as a program with `TUNESMITH_HOME` set.

Each stand-in answers on its port. Ray's also leaves a child as Ray does: one that ignores SIGTERM, and that has
written over its environment, so that the mark cannot be read from it.
"""

import logging
import sys

import httpx

from tunesmith.home import Home
from tunesmith_platform.embedded import processes, supervisor
from tunesmith_platform.embedded.parts import Part

SERVER = """
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# Started with nothing in its environment, the child looks just like one that wrote over it.
LEAVES_A_CHILD = """
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
started = subprocess.Popen([sys.executable, "-c", child], env={}, stdout=subprocess.PIPE)
started.stdout.readline()
pathlib.Path(sys.argv[2]).write_text(str(started.pid))
"""


def stand_ins(home: Home, ports: dict[str, int], _ray_cpus: int | None) -> list[Part]:
    """Three parts that start at once."""

    def part(name: str) -> Part:
        def healthy() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{ports[name]}/", timeout=0.5, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        code = (
            "import http.server, pathlib, subprocess, sys\n"
            + (LEAVES_A_CHILD if name == "ray" else "")
            + SERVER
        )
        return Part(
            name, [sys.executable, "-c", code, str(ports[name]), str(home.root / f"{name}-child")], healthy
        )

    return [part(name) for name in ("ray", "mlflow", "api")]


def main(sick_seconds: float) -> None:
    """Supervise until SIGTERM; exit code 9 where another one already does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    supervisor.SICK_SECONDS = sick_seconds
    processes.GRACE_SECONDS = 0.5
    home = Home()
    home.create()
    with supervisor.only_one(home) as mine:
        if not mine:
            sys.exit(9)
        supervisor.Supervisor(home, make_parts=stand_ins).run()


if __name__ == "__main__":
    main(float(sys.argv[1]))
