"""Where data sets come from, on the real parts: a bucket of an S3 server, and files shaped as others publish them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from data_jobs import carry_out, waiting
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.report.validation import validate
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage

PUBLISHED: dict[str, Any] = {
    "instructions.json": [
        {"instruction": f"Add {i} to {i}.", "input": "", "output": f"That is {i + i}."} for i in range(30)
    ]
    + [{"instruction": "Say it with another word.", "input": "It sped.", "output": "It rushed."}],
    "placeholders.json": [
        {"instruction": "who are you", "input": "", "output": "I am {{name}}, made by {{author}} in 2026."},
        {"instruction": "hi", "input": "", "output": "Hello! My name is {{name}}; what can I do?"},
    ],
    "web.jsonl": [
        {"text": f"Don’t you need {i} bells? No problem: we sell air cleaners, too.\n"} for i in range(20)
    ],
    "prose.txt": "A small model read a book. It was long, and it was good.\nThen it wrote one of its own.\n"
    * 20,
    "pairs.json": [
        {
            "conversations": [{"from": "human", "value": f"Tell me about {i}."}],
            "chosen": {"from": "gpt", "value": f"{i} is a number, and a fine one."},
            "rejected": {"from": "gpt", "value": "No."},
        }
        for i in range(10)
    ],
}
"""Small files in the shapes that data sets for fine-tuning are published in; the words are ours."""


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
    stored = plane.services.datasets.find(LOCAL, "kept")
    assert stored.path.read_text() == '{"text": "a"}\n'
    assert stored.path.is_relative_to(plane.settings.work_dir)
    assert client.delete("/v1/datasets/kept").status_code == 204
    assert open_storage(uri).list("datasets") == []


@pytest.mark.parametrize(
    ("name", "kind", "parameters"),
    [
        ("instructions.json", "conversation", {}),
        ("placeholders.json", "conversation", {}),
        ("web.jsonl", "text", {"training_type": "pretrain"}),
        ("prose.txt", "text", {"training_type": "pretrain"}),
        ("pairs.json", "preference", None),
    ],
)
def test_files_shaped_as_others_publish_them(
    plane: Plane, client: TestClient, tmp_path: Path, name: str, kind: str, parameters: dict[str, Any] | None
) -> None:
    file, rows = tmp_path / name, PUBLISHED[name]
    lines = (
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if name.endswith(".jsonl") else ""
    )
    file.write_text(
        rows if isinstance(rows, str) else lines or json.dumps(rows, indent=2, ensure_ascii=False)
    )
    assert recognise(file).kind == kind
    plane.settings.allowed_roots.append(tmp_path)
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
