"""How fast an estimate by formula is: 100 000 rows over HTTP, once counted, and the first answer by a sample.

Run: `python tests/bench/estimate.py`. Wanted: p99 under 300 ms once the rows are counted, the first answer under a
second. Ends with 1 when it is slower.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent))
from preflight import write_rows
from serving import WITH_LOOPS, make_api
from tiny_model import make_tiny_model

ROWS = 100_000
CALLS = 200


def ask(client: httpx.Client, spec: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """One estimate: its seconds and its answer."""
    began = time.perf_counter()
    reply = client.post("/v1/tasks:estimate", json={"spec": spec}, timeout=60)
    seconds = time.perf_counter() - began
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return seconds, found


def main() -> int:
    """Print both speeds."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        model, rows = make_tiny_model(root / "tiny"), write_rows(root / "rows.jsonl", ROWS)
        spec = {"model_name_or_path": str(model), "train_file": str(rows), "device": "cpu"}
        api = make_api(root)
        with (
            api.serve(**WITH_LOOPS, TUNESMITH_ALLOWED_ROOTS=f'["{root}"]'),
            httpx.Client(base_url=api.url, headers=api.headers) as client,
        ):
            first, answer = ask(client, spec)
            print(f"first answer, by a sample of {answer['data']['looked_at']} rows: {first * 1000:.0f} ms")
            began = time.perf_counter()
            while answer["data"]["is_sample"] and time.perf_counter() - began < 600:
                time.sleep(2)
                _, answer = ask(client, spec)
            print(f"all {answer['data']['rows']} rows counted after {time.perf_counter() - began:.0f} s")
            # Each with another length and batch, as a form that is being filled in asks.
            seconds = [
                ask(client, spec | {"max_length": 64 + 2 * i, "per_device_train_batch_size": 1 + i % 8})[0]
                for i in range(CALLS)
            ]
    p99 = statistics.quantiles(seconds, n=100)[98]
    print(f"then: median {statistics.median(seconds) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    return 0 if p99 < 0.3 and first < 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
