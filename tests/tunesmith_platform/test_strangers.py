"""Twenty requests whose files take long or grow, beside a real API that goes on answering."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from bench.serving import Api, make_api
from hostile import GROWING, SLOW, with_template
from waiting import wait_until

MEMORY = 400 * 2**20
WAITING = 20


class Crowd:
    """Requests that wait for their answers, each on a connection of its own."""

    def __init__(self, api: Api, models: list[Path], file: Path) -> None:
        self._open = [http.client.HTTPConnection("127.0.0.1", api.port) for _ in models]
        for connection, model in zip(self._open, models, strict=True):
            body = json.dumps({"file": str(file), "model": str(model)})
            headers = api.headers | {"Content-Type": "application/json"}
            connection.request("POST", "/v1/datasets:preview", body, headers)

    def leave(self) -> None:
        for connection in self._open:
            connection.close()


@pytest.fixture
def hostile_models(tiny_model: Path, tmp_path: Path) -> list[Path]:
    kinds = {"slow": SLOW, "growing": GROWING}
    made = {
        (kind, number): with_template(tiny_model, tmp_path / f"{kind}-{number}", template)
        for kind, template in kinds.items()
        for number in range(3)
    }
    return [made["growing" if place % 2 else "slow", place % 3] for place in range(WAITING)]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Api, psutil.Process]]:
    api = make_api(tmp_path)
    with api.serve(TUNESMITH_ALLOWED_ROOTS=json.dumps([str(tmp_path)])) as number:
        yield api, psutil.Process(number)


def facts_of(process: psutil.Process) -> dict[str, Any]:
    """What the system says of a process; nothing of one that was ended just now."""
    with contextlib.suppress(psutil.Error):
        return process.as_dict(["cmdline", "status", "cpu_times"])
    return {}


@pytest.mark.slow
def test_twenty_that_take_long_or_grow_hold_up_nothing(
    api: tuple[Api, psutil.Process], hostile_models: list[Path], tmp_path: Path
) -> None:
    served, process = api
    file = tmp_path / "rows.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}\n' * 20)
    crowd = Crowd(served, hostile_models, file)
    with httpx.Client(base_url=served.url, headers=served.headers, timeout=30) as client:

        def workers() -> list[dict[str, Any]]:
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/tasks").status_code == 200
            assert process.memory_info().rss < MEMORY
            found = [facts_of(child) for child in process.children()]
            return [facts for facts in found if "sandbox.worker" in " ".join(facts.get("cmdline") or ())]

        def is_busy() -> bool:
            return sum(worker["cpu_times"].user for worker in workers()) > 2.0

        def is_idle() -> bool:
            return all(worker["status"] == psutil.STATUS_SLEEPING for _ in range(5) for worker in workers())

        wait_until(is_busy, 300, "the workers' start")
        for _ in range(100):
            assert len(workers()) <= (psutil.cpu_count() or 1)
        crowd.leave()
        wait_until(is_idle, 300, "the end of what nobody waits for")
