"""What twenty requests over strangers' files cost everybody else: p99 of other calls, and the API's memory.

Run: `python tests/bench/strangers.py`. The files are harmless: chat templates that count for hours, texts that double.
In turns, idle and with twenty waiting; machines differ and are shared, the ratio stays. The last lines say how long
another model's preview takes meanwhile, and what a submit costs whose files are known.
"""

import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import WITH_LOOPS, Api, make_api

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hostile import GROWING, SLOW, with_template
from tiny_model import make_tiny_model

TURNS = 3
CALLS = 400
WAITING = 20


def preview(model: Path, file: Path) -> dict[str, Any]:
    """What asks for a preview."""
    return {"file": str(file), "model": str(model)}


def wait_in_line(api: Api, models: list[Path], file: Path) -> list[http.client.HTTPConnection]:
    """Twenty requests under way."""
    connections = []
    for place in range(WAITING):
        connection = http.client.HTTPConnection("127.0.0.1", api.port)
        headers = api.headers | {"Content-Type": "application/json"}
        body = json.dumps(preview(models[place % len(models)], file))
        connection.request("POST", "/v1/datasets:preview", body, headers)
        connections.append(connection)
    return connections


def timed(client: httpx.Client, submit: dict[str, Any]) -> list[float]:
    """Seconds of each of other users' calls."""
    seconds = []
    for number in range(CALLS):
        started = time.perf_counter()
        if number % 4 == 0:
            answer = client.post("/v1/tasks", json=submit)
        else:
            answer = client.get(("/v1/tasks", "/healthz", "/v1/models")[number % 3])
        seconds.append(time.perf_counter() - started)
        assert answer.is_success, answer.text
    return seconds


def p99(seconds: list[float]) -> float:
    """In milliseconds."""
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1000


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        good = make_tiny_model(root / "good")
        models = [
            with_template(good, root / f"model-{number}", (SLOW, GROWING)[number % 2]) for number in range(6)
        ]
        file = root / "rows.jsonl"
        file.write_text('{"instruction": "a", "output": "b"}\n' * 100)
        submit = {"spec": {"model_name_or_path": str(good), "train_file": str(file)}}
        api = make_api(root)
        with api.serve(**WITH_LOOPS, TUNESMITH_ALLOWED_ROOTS=json.dumps([str(root)])) as number:
            process = psutil.Process(number)
            with httpx.Client(base_url=api.url, headers=api.headers, timeout=120) as client:
                client.post("/v1/tasks", json=submit).raise_for_status()
                timed(client, submit)
                ratios, most = [], 0
                for _ in range(TURNS):
                    idle = p99(timed(client, submit))
                    crowd = wait_in_line(api, models, file)
                    time.sleep(3)  # until they are under way
                    busy = p99(timed(client, submit))
                    most = max(most, process.memory_info().rss)
                    started = time.perf_counter()
                    client.post("/v1/datasets:preview", json=preview(good, file)).raise_for_status()
                    other = time.perf_counter() - started
                    for connection in crowd:
                        connection.close()
                    time.sleep(1)
                    ratios.append(busy / idle)
                    print(
                        f"p99 of other calls: idle {idle:.1f} ms, {WAITING} waiting {busy:.1f} ms: {busy / idle:.2f}x; "
                        f"another model's preview meanwhile: {other:.1f} s",
                        flush=True,
                    )
                print(f"p99 while {WAITING} wait / idle: median {statistics.median(ratios):.2f} (at most 3)")
                print(f"the API's memory: {most / 2**20:.0f} MB (under 400)")


if __name__ == "__main__":
    main()
