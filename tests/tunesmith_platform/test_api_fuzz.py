"""No generated call of the whole API ends in a 5xx or in an answer that the description does not have."""

from collections.abc import Iterator

import pytest
from api_fuzz import Fuzz
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.home import Home

SEED, CALLS = 20261129, 6


@pytest.fixture
def fuzz(home: Home) -> Iterator[Fuzz]:
    plane = Plane(home, max_concurrent_jobs=8)
    with TestClient(plane.app, raise_server_exceptions=False) as api:
        yield Fuzz(plane, api)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_answer_is_one_that_the_description_has(fuzz: Fuzz) -> None:
    operations = list(fuzz.operations())
    assert len(operations) > 70
    for operation in operations:
        fuzz.call(operation, CALLS, SEED)
    assert fuzz.kinds.found == {}
    assert {200, 201, 404, 422} <= set(fuzz.kinds.statuses)


def test_a_failure_and_an_undeclared_answer_are_seen(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds nothing may be blind."""
    operation = next(found for found in fuzz.operations() if found.label == "GET /v1/quota")
    fuzz.call(operation, 3, SEED)
    assert fuzz.kinds.found == {}
    service = type(fuzz._plane.services.quota)

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(service, "page", broken)
    fuzz.call(operation, 20, SEED)
    assert any("GET /v1/quota 500 ServerError" in name for name in fuzz.kinds.found), fuzz.kinds.found

    monkeypatch.undo()
    described = fuzz._plane.app.openapi()
    del described["paths"]["/v1/quota"]["get"]["responses"]["422"]
    operation = next(found for found in fuzz.operations() if found.label == "GET /v1/quota")
    fuzz.call(operation, 50, SEED)
    assert any("GET /v1/quota 422" in name for name in fuzz.kinds.found), fuzz.kinds.found
