"""An older client and a newer server, and the other way round: the newer side says which is older, in plain words."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

import tunesmith
from tunesmith import versions
from tunesmith.client.transport import answered, not_understood
from tunesmith.errors import InvalidInput, NotFound, TunesmithError, Unauthorized

OLDER, NEWER = "0.0.9", "99.1.0"


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [("0.0.9", "0.1.0", True), ("0.1.0", "0.1.0", False), ("0.10.0", "0.9.9", False), ("0.9.9", "0.10.0", True),
     (None, "0.1.0", False), ("what", "0.1.0", False), ("0.1.0.dev1", "0.1.0", False)],
)  # fmt: skip
def test_which_is_older(one: str | None, other: str, older: bool) -> None:
    assert versions.is_older(one, other) is older


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda client, headers: client.get("/v1/of-a-version-before", headers=headers), 404),
        (lambda client, headers: client.put("/v1/tasks", headers=headers), 405),
        (
            lambda client, headers: client.post(
                "/v1/tasks", json={"kind": "train", "spec": {"a_field_that_was": 1}}, headers=headers
            ),
            422,
        ),
    ],
)
def test_a_server_tells_an_older_client_what_it_may_be(
    client: TestClient, call: Callable[[Any, dict[str, str]], Any], status: int
) -> None:
    words = f"older than the server's {tunesmith.__version__}"
    for sent, is_told in ((OLDER, True), (tunesmith.__version__, False), (NEWER, False), ("garbage", False)):
        reply = call(client, {versions.HEADER: sent})
        assert reply.status_code == status
        assert (words in (reply.json()["error"]["hint"] or "")) is is_told, sent
        assert reply.headers[versions.HEADER] == tunesmith.__version__
    said = call(client, {versions.HEADER: OLDER, "Accept-Language": "zh"}).json()["error"]["hint"]
    assert "版本低于" in said


def test_a_key_that_is_wrong_is_no_matter_of_versions(client: TestClient) -> None:
    headers = {versions.HEADER: OLDER, "Authorization": "Bearer nobody"}
    reply = client.get("/v1/tasks", headers=headers)
    assert reply.status_code == 401
    assert OLDER not in reply.text


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (405, TunesmithError), (422, InvalidInput)])
def test_a_client_says_that_the_server_is_older(status: int, kind: type[TunesmithError]) -> None:
    """The server knows nothing of this: it may be of any version before."""
    for said, is_told in ((OLDER, True), (NEWER, False), (None, False), (tunesmith.__version__, False)):
        response = httpx.Response(status, headers={versions.HEADER: said} if said else {})
        error = answered(response)
        assert isinstance(error, kind)
        assert ("bring the server up to date" in (error.hint or "")) is is_told, said


def test_an_answer_of_an_older_server_that_is_not_understood_says_so() -> None:
    older = httpx.Response(200, headers={versions.HEADER: OLDER})
    assert OLDER in (not_understood("http://h", older).hint or "")
    assert "one version" in (not_understood("http://h", httpx.Response(200)).hint or "")
    assert OLDER not in (answered(httpx.Response(401, headers={versions.HEADER: OLDER})).hint or "")
    assert isinstance(answered(httpx.Response(401)), Unauthorized)
