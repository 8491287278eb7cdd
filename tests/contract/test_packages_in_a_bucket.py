"""Packages whose files lie in a bucket: handed out in parts, with a key and by links. On a real S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from package_bench import FILE, Bench

from tunesmith.home import Home
from tunesmith.storage import open_storage

CONTENT = os.urandom(9_000_000)


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path) -> Iterator[Bench]:
    home = Home(tmp_path / "home")
    home.create()
    plane = Plane(home)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield Bench(plane, client, tiny_model)
    plane.services.database.close()


def test_a_file_in_a_bucket_is_handed_out_in_parts(bench: Bench, s3_uri: str, tmp_path: Path) -> None:
    uri = f"{s3_uri}/{tmp_path.name}"
    task = bench.packaged(bench.trained({8: 1.0}), uri=uri, content=CONTENT)
    path = f"/v1/tasks/{task.id}/package"
    whole = bench.client.get(f"{path}/files/{FILE}")
    assert (whole.status_code, whole.content == CONTENT) == (200, True)
    headers = {"Range": "bytes=4194300-8400000", "If-Range": whole.headers["etag"]}
    part = bench.client.get(f"{path}/files/{FILE}", headers=headers)
    assert (part.status_code, part.content == CONTENT[4194300:8400001]) == (206, True)
    url = bench.client.post(f"{path}/links", json={"file": FILE}).json()["url"]
    assert "testkey" not in url, "nothing of the bucket's keys"
    stranger = TestClient(bench.plane.app)
    place = url.removeprefix(bench.plane.settings.public_url)
    assert stranger.get(place, headers={"Range": "bytes=-3"}).content == CONTENT[-3:]
    for name in ("manifest.json", "failed%2Ft-8.gguf.failed", "..%2F..%2Fx"):
        assert bench.client.get(f"{path}/files/{name}").status_code in (404, 405), name
    open_storage(uri).write(f"package/{FILE}", b"other")
    assert bench.client.get(f"{path}/files/{FILE}").status_code == 503
