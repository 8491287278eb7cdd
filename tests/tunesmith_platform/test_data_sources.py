"""Where data sets come from, on the real parts: a bucket of an S3 server, and files that others published."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from data_jobs import carry_out, waiting
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.rows.recognising import recognise
from tunesmith.rows.validation import validate
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage

SHARED = Path(os.environ.get("TUNESMITH_SHARED_DATA", "/nowhere"))


@pytest.fixture
def run(plane: Plane, client: TestClient) -> Callable[..., Any]:
    def call(operation: str, into: str, **parameters: Any) -> Any:
        made = client.post(
            "/v1/datasets:run", json={"operation": operation, "parameters": parameters, "into": into}
        )
        assert made.status_code == 201, made.text
        plane.tick()
        for job in waiting(plane):
            carry_out(plane, job)
        plane.tick()
        return client.get(f"/v1/tasks/{made.json()['id']}").json()

    return call


@pytest.mark.slow
def test_a_file_and_a_folder_of_a_bucket(
    plane: Plane, client: TestClient, run: Callable[..., Any], s3_uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for part in range(2):
        (folder / f"{part}.jsonl").write_text(json.dumps({"text": f"part {part}"}) + "\n")
    (folder / "README.md").write_text("not rows")
    open_storage(s3_uri).put_folder(folder, "given/rows")
    plane.settings.allowed_uris = [f"{s3_uri}/given/"]
    one = client.post("/v1/datasets", json={"source": f"{s3_uri}/given/rows/0.jsonl", "name": "one"})
    assert one.status_code == 201, one.text
    ended = run("load", "both", path=f"{s3_uri}/given/rows/")
    assert (ended["state"], ended["datasets"]) == ("completed", ["both@1"]), ended["message"]
    version = client.get("/v1/datasets/both").json()["versions"][0]
    assert (version["rows"], version["lineage"]["sources"]) == (2, [f"{s3_uri}/given/rows/"])
    gone = run("load", "gone", path=f"{s3_uri}/given/none/")
    assert (gone["state"], gone["reason"]) == ("failed", "bad_parameters")
    outside = client.post(
        "/v1/datasets:run", json={"operation": "load", "parameters": {"path": f"{s3_uri}/other/x.jsonl"}}
    )
    assert outside.status_code == 422


@pytest.mark.slow
def test_rows_that_stay_in_a_bucket(
    plane: Plane, client: TestClient, run: Callable[..., Any], s3_uri: str
) -> None:
    """Where the storage is a bucket, a version's file lies there, and is fetched when it is needed."""
    plane.settings.storage_uri = f"{s3_uri}/platform"
    file = plane.home.models / "rows.jsonl"
    file.write_text('{"text": "a"}\n{"text": "a"}\n')
    uri = plane.settings.storage_uri
    made = client.post(
        "/v1/datasets:run", json={"operation": "dedup", "parameters": {"dataset": str(file)}, "into": "kept"}
    ).json()
    plane.tick()
    job = f"{made['id']}-1"
    document = open_storage(uri).read(f"tasks/{made['id']}/attempt-1.json")
    assert document is not None
    local = plane.home.root / "document.json"
    local.write_bytes(document)
    plane.jobs.documents[job] = str(local)
    assert carry_out(plane, job).outcome == "completed"
    plane.tick()
    stored = plane.services.datasets.find("kept")
    assert stored.path.read_text() == '{"text": "a"}\n'
    assert stored.path.is_relative_to(plane.settings.work_dir)
    assert client.delete("/v1/datasets/kept").status_code == 204
    assert open_storage(uri).list("datasets") == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="`TUNESMITH_SHARED_DATA` names no folder of data files")
@pytest.mark.parametrize(
    ("name", "kind", "parameters"),
    [
        ("alpaca_en_demo.json", "conversation", {}),
        ("identity.json", "conversation", {}),
        ("c4_demo.jsonl", "text", {"training_type": "pretrain"}),
        ("wiki_demo.txt", "text", {"training_type": "pretrain"}),
        ("dpo_en_demo.json", "preference", None),
    ],
)
def test_files_that_others_published(
    plane: Plane, client: TestClient, name: str, kind: str, parameters: dict[str, Any] | None
) -> None:
    file = SHARED / name
    assert recognise(file).kind == kind
    plane.settings.allowed_roots.append(SHARED)
    made = client.post("/v1/datasets", json={"source": str(file)})
    assert made.status_code == 201, made.text
    given = made.json()["name"]
    if parameters is None:
        report = validate(file, TrainSpec.read({"model_name_or_path": "-", "train_file": "-"}))
        assert report.bad_rows == report.rows, "it has no answers to train on, and every row says so"
        return
    make_model_folder(plane.home.models / "m")
    asked = {"file": given, "model": "m", "parameters": parameters}
    report_view = client.post("/v1/datasets:validate", json=asked).json()
    assert (report_view["verdict"], report_view["bad_rows"]) == ("fine", 0), report_view["bad"][:3]
    shown = client.post("/v1/datasets:preview", json=asked | {"first": 3}).json()
    assert all(row["trained"] > 0 and not row["problem"] for row in shown["rows"])
