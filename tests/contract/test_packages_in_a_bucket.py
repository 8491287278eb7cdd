"""Packages whose files lie in a bucket: made there, handed out in parts, with a key and by links, kept, removed.

On a real S3 server.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from data_jobs import Ear
from ended_tasks import end, error_of
from fastapi.testclient import TestClient
from package_bench import FILE, Bench

from tunesmith.artifacts import Manifest
from tunesmith.home import Home
from tunesmith.lifecycle import Reason
from tunesmith.storage import S3Storage, open_storage
from tunesmith.views import TaskView
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
from tunesmith_platform.backends.protocols import JobStatus

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


@pytest.fixture
def in_a_bucket(tmp_path: Path, tiny_model: Path, s3_uri: str) -> Iterator[Bench]:
    """A plane whose storage is a bucket."""
    home = Home(tmp_path / "home")
    home.create()
    plane = Plane(home, storage_uri=f"{s3_uri}/{tmp_path.name}", allowed_roots=[tmp_path])
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield Bench(plane, client, tiny_model)
    plane.services.database.close()


def packaged(bench: Bench, **spec: Any) -> TaskView:
    """A packaging whose job was done for real, and told the platform all that it has to tell."""
    task = bench.made(
        model_name_or_path=str(bench.model), preset="merge_and_quantize", quant_types=["Q8_0", "F16"], **spec
    )
    document = bench.document(task)
    bench.plane.job(task, JobStatus.RUNNING)
    ear = Ear()
    outcome = do(Attempt.of(document), ear)
    assert outcome.reason is Reason.COMPLETED, outcome
    told = [one.model_dump(mode="json") for one in ear.heard if one.kind == "package_made"]
    bench.plane.report(task, *told)
    end(bench.plane, task, model_uri=str(outcome.model_uri))
    return bench.plane.task(task.id)


@pytest.mark.slow
def test_a_package_is_made_in_a_bucket_and_lives_there(
    in_a_bucket: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its whole life: made, shown in a folder without coming back, taken again, fetched by a link, removed, counted."""
    pytest.importorskip("xllamacpp")
    bench, client = in_a_bucket, in_a_bucket.client
    client.put("/v1/quota/default", json={"enabled": True})
    client.post("/v1/quota/default/grants", json={"amount": 2})

    def fetched(*_: object) -> Path:
        raise AssertionError("what was just brought there is fetched back")

    with monkeypatch.context() as patch:
        patch.setattr(S3Storage, "get_folder", fetched)
        first = packaged(bench, output_dir=str(tmp_path / "out"))
    view = client.get(f"/v1/tasks/{first.id}/package").json()
    assert view["uri"].startswith("s3://")
    there = open_storage(view["uri"])
    manifest = Manifest.decode(there.read("manifest.json") or b"")
    assert manifest is not None
    sizes = {file.path: file.bytes for file in manifest.files}
    assert there.sizes("") == sizes | {"manifest.json": len(manifest.encode())}
    assert {one["verdict"] for one in view["files"]} == {"proven"}
    shown = tmp_path / "out" / "package"
    for one in view["files"]:
        assert hashlib.sha256(there.read(one["name"]) or b"").hexdigest() == one["sha256"]
        assert hashlib.sha256((shown / one["name"]).read_bytes()).hexdigest() == one["sha256"]
    assert (shown / "manifest.json").read_bytes() == manifest.encode()

    brought: list[str] = []
    put_folder = S3Storage.put_folder

    def put(self: S3Storage, source: Path, path: str, *more: Any) -> None:
        brought.extend(file.name for file in source.rglob("*") if file.is_file())
        put_folder(self, source, path, *more)

    def by_way_of_here(*_: object) -> None:
        raise AssertionError("what the server can copy is fetched")

    with monkeypatch.context() as patch:
        patch.setattr(S3Storage, "put_folder", put)
        patch.setattr(S3Storage, "get_file", by_way_of_here)
        again = packaged(bench)
    assert "README.md" in brought
    assert not [name for name in brought if name.endswith(".gguf")], "no byte of it is sent"
    assert bench.client.get(f"/v1/tasks/{again.id}/package").json()["uri"] != view["uri"]
    copies = open_storage(bench.client.get(f"/v1/tasks/{again.id}/package").json()["uri"])
    copied = Manifest.decode(copies.read("manifest.json") or b"")
    assert copied is not None
    assert copies.sizes("") == {file.path: file.bytes for file in copied.files} | {
        "manifest.json": len(copied.encode())
    }
    taken = client.get(f"/v1/tasks/{again.id}/package").json()
    assert {one["taken_from"] for one in taken["files"]} == {first.id}
    assert [one["sha256"] for one in taken["files"]] == [one["sha256"] for one in view["files"]]
    refused = error_of(bench.package(model_name_or_path=str(bench.model), preset="merge_and_quantize"))
    assert refused.code == "quota_exceeded", "each counts as one"

    one = view["files"][0]
    url = client.post(f"/v1/tasks/{first.id}/package/links", json={"file": one["name"]}).json()["url"]
    place, stranger = url.removeprefix(bench.plane.settings.public_url), TestClient(bench.plane.app)
    head = stranger.get(place, headers={"Range": "bytes=0-9999"})
    go_on = {"Range": "bytes=10000-", "If-Range": head.headers["etag"]}
    tail = stranger.get(place, headers=go_on)
    assert (head.status_code, tail.status_code) == (206, 206)
    assert hashlib.sha256(head.content + tail.content).hexdigest() == one["sha256"]

    bystander = f"{first.id} is somebody else's".encode()
    there.write("mine.txt", bystander)
    client.post(f"/v1/tasks/{again.id}/package:pin")
    done = client.post("/v1/packages:prune", json={"keep_days": 1e-9, "dry_run": False}).json()
    assert {gone["task_id"]: gone["goes"] for gone in done["packages"]} == {first.id: True, again.id: False}
    assert there.sizes("") == {"mine.txt": len(bystander)}
    assert stranger.get(place).status_code == 404
    assert open_storage(taken["uri"]).sizes("").keys() >= {file["name"] for file in taken["files"]}
    assert client.get("/v1/quota/default").json()["packages"] == 1


@pytest.mark.slow
def test_only_a_file_that_is_what_it_was_is_copied_in_a_bucket(
    in_a_bucket: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose bytes changed there is made anew; one that the server does not copy is fetched."""
    pytest.importorskip("xllamacpp")
    bench = in_a_bucket
    first = packaged(bench)
    view = bench.client.get(f"/v1/tasks/{first.id}/package").json()
    one, other = view["files"]
    there = open_storage(view["uri"])
    data = bytearray(there.read(one["name"]) or b"")
    data[-5] ^= 1
    there.write(one["name"], bytes(data))
    copy_from = S3Storage.copy_from

    def refused(self: S3Storage, source: S3Storage, path: str, target: str) -> bool:
        if path == other["name"]:
            raise OSError("AccessDenied")
        return copy_from(self, source, path, target)

    monkeypatch.setattr(S3Storage, "copy_from", refused)
    again = bench.client.get(f"/v1/tasks/{packaged(bench).id}/package").json()
    assert [file["taken_from"] for file in again["files"]] == [None, first.id]
    assert [file["sha256"] for file in again["files"]] == [one["sha256"], other["sha256"]]
    place = open_storage(again["uri"])
    for file in again["files"]:
        assert hashlib.sha256(place.read(file["name"]) or b"").hexdigest() == file["sha256"]
    assert "AccessDenied" in caplog.text
