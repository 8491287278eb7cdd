"""What a task leaves in folders: it replaces nobody's model, and is deleted with its files or without them."""

from pathlib import Path

import pytest
from conftest_platform import Plane
from ended_tasks import SPEC, end, ended, error_of, folder, look_at_little, saved
from fastapi.testclient import TestClient

from tunesmith.lifecycle import Reason


@pytest.fixture(autouse=True)
def _look_at_little(plane: Plane) -> None:
    """What tasks are given has tests of its own."""
    look_at_little(plane)


# --- the output folder


def test_a_model_that_lies_in_the_output_folder_is_not_replaced(
    plane: Plane, client: TestClient, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    spec = SPEC | {"output_dir": str(out)}
    first = plane.running(spec={"output_dir": str(out)})
    checkpoint = folder(plane, first, str(out / "checkpoint-5"))
    end(plane, first, Reason.STOPPED_BY_USER)
    second = client.post("/v1/tasks", json={"spec": spec})
    assert (second.status_code, error_of(second).code) == (409, "not_ours"), "its own might land on it"
    assert str(checkpoint) in error_of(second).message
    model = folder(plane, first, str(out / "model"))
    refused = client.post("/v1/tasks", json={"spec": spec})
    assert (refused.status_code, error_of(refused).problems[0].field) == (409, "spec.output_dir")
    assert first.id in error_of(refused).message
    assert f"remove `{model}`" in (error_of(refused).hint or "")
    again = client.post(f"/v1/tasks/{first.id}:continue")
    assert again.status_code == 202, "its own model"


# --- delete


def test_deleting_with_files_takes_what_the_task_wrote_and_nothing_else(
    plane: Plane, client: TestClient, tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    (base / "model.safetensors").write_text("base")
    task = plane.running(spec={"model_name_or_path": str(base), "output_dir": str(out)})
    checkpoint = saved(plane, task, 10)
    for name in ("checkpoint-10", "model"):
        folder(plane, task, str(out / name))
    others = [
        folder(plane, task, str(out / "checkpoint-5"), "task-0other"),
        out / "mine",
        tmp_path / "link-to",
    ]
    others[1].mkdir()
    folder(plane, task, str(tmp_path / "link-to" / "checkpoint-7"))
    (out / "checkpoint-7").symlink_to(tmp_path / "link-to" / "checkpoint-7")
    end(plane, task)
    document = Path(plane.jobs.documents[f"{task.id}-1"])
    assert document.is_file()
    assert client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204
    assert not checkpoint.exists()
    assert not document.exists()
    assert not (out / "checkpoint-10").exists()
    assert not (out / "model").exists()
    for path in (*others, others[2] / "checkpoint-7" / "weights", base / "model.safetensors"):
        assert path.exists(), path


def test_deleting_without_files_keeps_them(plane: Plane, client: TestClient) -> None:
    task = ended(plane)
    assert client.delete(f"/v1/tasks/{task.id}").status_code == 204
    assert (Path(task.artifact_uri or "") / "checkpoints" / "checkpoint-10" / "weights").is_file()


@pytest.mark.parametrize("use_lora", [True, False])
def test_files_on_which_another_task_is_built_stay(plane: Plane, client: TestClient, use_lora: bool) -> None:
    parent = ended(plane, spec={"use_lora": use_lora})
    stage = client.post(f"/v1/tasks/{parent.id}:new-stage").json()
    refused = client.delete(f"/v1/tasks/{parent.id}", params={"files": True})
    assert (refused.status_code, error_of(refused).code) == (409, "conflict")
    assert stage["name"] in error_of(refused).message
    assert (Path(parent.artifact_uri or "") / "checkpoints" / "checkpoint-10" / "weights").is_file()
    client.post(f"/v1/tasks/{stage['id']}:stop")
    assert client.delete(f"/v1/tasks/{stage['id']}").status_code == 204
    assert client.delete(f"/v1/tasks/{parent.id}", params={"files": True}).status_code == 204
