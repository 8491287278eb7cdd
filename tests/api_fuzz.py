"""Generated calls over the whole description of the API, in process; what must hold of every answer.

The tests make few of them, `tests/bench/fuzz.py` very many.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import requests
import schemathesis
from conftest_platform import Plane
from ended_tasks import look_at_little
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from tunesmith.job import read_secret, report_token

load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)
LIVE = {"/v1/stream", "/v1/tasks/{task_id}/stream"}
"""Answers that do not end."""
HOST = "testserver"
"""The name that calls give."""
_SENT = ("method", "url", "params", "headers", "data", "json", "files", "cookies")


class Kinds:
    """What was seen: how many answers of which status, and each kind of failure once, with a call that shows it."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.found: dict[str, str] = {}

    @property
    def calls(self) -> int:
        """How many answers there were."""
        return self.statuses.total()


class Fuzz:
    """Calls of one API, of which some name things that are there.

    Args:
        plane: The control plane; it may run several jobs at a time.
        api: The way in.
    """

    def __init__(self, plane: Plane, api: TestClient) -> None:
        self._plane, self._api = plane, api
        self.kinds = Kinds()
        look_at_little(
            plane
        )  # what is generated names no files that are there, and is to become tasks all the same
        running, waiting, over = plane.running(), plane.submit(), plane.running()
        plane.report(over, {"kind": "finished", "outcome": "failed", "reason": "user_code"})
        self._places = [{"task_id": task.id} for task in (running, waiting, over)]
        self._places.append({"task_id": running.id, "attempt": "1", "step": "1", "project": "default"})

    def operations(self) -> Iterator[Any]:
        """Every operation of the description but the live streams."""
        schema = schemathesis.openapi.from_dict(self._plane.app.openapi())
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path not in LIVE:
                yield operation

    def call(self, operation: Any, calls: int, seed: int) -> None:
        """Make so many calls of one operation, good and bad ones, and note what is wrong with the answers."""
        good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        bad = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=calls,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=good | bad, place=st.sampled_from([{}, *self._places]))
        def one(case: Any, place: dict[str, str]) -> None:
            there = {name: value for name, value in place.items() if name in case.path_parameters}
            case.path_parameters = {**case.path_parameters, **there}
            self._look_at(case, self._send(case, place.get("task_id")))

        one()

    def _send(self, case: Any, task_id: str | None) -> Any:
        """One call, with nothing between the API and what was generated."""
        key = self._plane.api_key
        if task_id is not None and "/reports" in case.operation.path:
            key = report_token(read_secret(self._plane.home.report_secret_file), task_id, 1)
        arguments = case.as_transport_kwargs(base_url=f"http://{HOST}")
        sent = requests.Request(**{name: arguments.get(name) for name in _SENT}).prepare()
        # Another host's name is refused before any route is looked for (`test_hosts_and_origins.py`).
        headers = {name: value for name, value in sent.headers.items() if name.lower() != "host"}
        headers["Authorization"] = f"Bearer {key}"
        return self._api.request(sent.method or "GET", sent.url or "", content=sent.body, headers=headers)

    def _look_at(self, case: Any, answer: Any) -> None:
        self.kinds.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKED)
        except FailureGroup as group:
            for error in group.exceptions:
                name = f"{case.operation.label} {answer.status_code} {type(error).__name__}"
                self.kinds.found.setdefault(
                    name, f"{str(error)[:300]}\n{case.as_curl_command()[:500]}\n{answer.text[:300]}"
                )
