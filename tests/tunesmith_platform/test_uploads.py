"""Uploads as the platform sees them: what is refused before a job is started, what is said first, what is handed on."""

from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from ended_tasks import error_of
from fastapi.testclient import TestClient
from package_bench import Bench

from tunesmith.upload_job import UploadDocument, card_license


@pytest.fixture
def bench(plane: Plane, client: TestClient, tiny_model: Path) -> Bench:
    return Bench(plane, client, tiny_model)


def sent(bench: Bench, **spec: Any) -> Any:
    return bench.client.post("/v1/tasks", json={"kind": "upload", "spec": {"repo_id": "team/ember"} | spec})


def test_an_upload_says_its_license_and_who_will_see_it(bench: Bench) -> None:
    task = bench.packaged(bench.trained({8: 1.0}))
    place = Path(bench.client.get(f"/v1/tasks/{task.id}/package").json()["uri"])
    answer = sent(bench, task_id=task.id)
    assert answer.status_code == 201, answer.text
    (said,) = [notice["message"] for notice in answer.json()["notices"]]
    assert "the repository is private" in said
    assert "names no license" in said
    (place / "README.md").write_text("---\nlicense: other\nlicense_name: gemma\n---\n# t\n")
    answer = sent(bench, task_id=task.id, public=True)
    (said,) = [notice["message"] for notice in answer.json()["notices"]]
    assert ("everybody may see it" in said, "the license `gemma`" in said) == (True, True)
    bench.plane.tick()
    made = answer.json()["id"]
    documents = [uri for job, uri in bench.plane.jobs.documents.items() if job.startswith(made)]
    document = UploadDocument.model_validate_json(Path(documents[0]).read_bytes())
    assert (document.model_uri, document.environment) == (str(place), ["HF_TOKEN"])
    assert document.spec["token"] == "${env.HF_TOKEN}"


def test_what_cannot_be_uploaded_is_refused_with_its_field(bench: Bench) -> None:
    task = bench.packaged(bench.trained({8: 1.0}))
    unfinished = bench.made(task_id=bench.trained({8: 1.0}).id, preset="merge_and_quantize")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"task_id": "task-000000000000000000"}, "spec.task_id"),
        ({"task_id": unfinished.id}, "spec.task_id"),
        ({"task_id": task.id, "token": "hf_written-out"}, "spec.token"),
        ({"task_id": task.id, "token": "${env.PATH}"}, "spec.token"),
        ({"task_id": task.id, "repo_id": "../x"}, "spec.repo_id"),
    ]
    for spec, field in cases:
        error = error_of(sent(bench, **spec))
        assert error.problems[0].field == field, spec
        assert "hf_written-out" not in error.model_dump_json()
    place = Path(bench.client.get(f"/v1/tasks/{task.id}/package").json()["uri"])
    (place / "manifest.json").unlink()
    assert "not there any more" in error_of(sent(bench, task_id=task.id)).message


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        (None, None),
        (b"# none", None),
        (b"---\nlicense: mit\n---\n", "mit"),
        (b"---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        (b"---\n[: no yaml\n---\n", None),
        (b"---\n- a\n---\n", None),
    ],
)
def test_the_license_of_a_card(card: bytes | None, license_: str | None) -> None:
    assert card_license(card) == license_
