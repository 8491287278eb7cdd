"""Templates over HTTP: checked as a task's parameters are, kept apart from the tasks that use them."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_studio import build_studio
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import FOLDER, LABELS, ROWS, SPEC

from tunesmith.errors import ErrorResponse, InvalidInput
from tunesmith.evaluation.samples import default_samples
from tunesmith.schema import rows
from tunesmith.spec.task import TaskRequest
from tunesmith.spec.training import TrainSpec
from tunesmith.templates import check_parameters, chosen
from tunesmith_platform.templates.builtin import builtins

ROOT = Path(__file__).resolve().parents[2]


def error_of(reply: Any) -> Any:
    return ErrorResponse.model_validate(reply.json()).error


def save(client: TestClient, name: str = "mine", **body: Any) -> Any:
    return client.post("/v1/templates", json={"name": name} | body)


@pytest.mark.parametrize("name", list(builtins()))
def test_a_built_in_template_is_what_a_task_takes(client: TestClient, name: str) -> None:
    template = builtins()[name]
    assert check_parameters(template.parameters) == (template.parameters, []), (
        "nothing mapped or without effect"
    )
    assert template.description
    assert template.description_zh
    is_plain = template.parameters.get("training_type") in ("pretrain", "classification")
    spec = SPEC | {"train_file": LABELS} if is_plain else SPEC
    reply = client.post("/v1/tasks", json={"template": name, "spec": spec})
    assert reply.status_code == 201, reply.text
    task = reply.json()
    assert task["template"] == name
    assert {key: task["spec"][key] for key in template.parameters} == template.parameters


def test_pretrain_hides_what_it_turns_off() -> None:
    pretrain = builtins()["Pretrain"]
    assert pretrain.parameters["use_lora"] is False
    assert pretrain.hides == ["lora"]
    assert not set(pretrain.parameters) & {
        row.name for row in rows(TrainSpec) if row.about.group == "lora" and row.name != "use_lora"
    }


def test_the_life_of_a_template(client: TestClient) -> None:
    saved = save(client, "简短 answers", description="d", parameters={"lora_r": 8, "learning_rate": "5e-4"})
    assert saved.status_code == 201
    assert saved.json()["parameters"] == {"learning_rate": 5e-4, "r": 8}
    assert "`lora_r` was read as `r`" in saved.json()["notices"][0]["message"]
    assert error_of(save(client, "简短 answers")).code == "conflict"
    names = [item["name"] for item in client.get("/v1/templates").json()["data"]]
    assert names == [*builtins(), "简短 answers"]
    changed = client.patch("/v1/templates/简短 answers", json={"name": "brief", "parameters": {"r": 4}})
    assert changed.json()["parameters"] == {"r": 4}
    assert client.get("/v1/templates/简短 answers").status_code == 404
    shown = client.get("/v1/templates/brief").json()
    assert (shown["description"], shown["parameters"], shown["builtin"]) == ("d", {"r": 4}, False)
    assert client.delete("/v1/templates/brief").status_code == 204
    assert client.delete("/v1/templates/brief").status_code == 404


@pytest.mark.parametrize(
    ("parameters", "field", "hint"),
    [
        ({"lora_rnk": 8}, "parameters.lora_rnk", "Did you mean `r`?"),
        ({"r": 0}, "parameters.r", None),
        ({"use_lora": False, "load_in_4bit": True}, "parameters.load_in_4bit", None),
        ({"r": 1, "lora_r": 2}, "parameters.r", None),
    ],
)
def test_what_is_no_parameter_is_refused(
    client: TestClient, parameters: dict[str, Any], field: str, hint: str | None
) -> None:
    reply = save(client, parameters=parameters)
    assert reply.status_code == 422
    problem = error_of(reply).problems[0]
    assert problem.field == field
    assert hint is None or problem.hint == hint
    assert client.get("/v1/templates/mine").status_code == 404


def test_what_only_lacks_data_is_taken(client: TestClient) -> None:
    assert save(client, parameters={"eval_strategy": "steps", "eval_steps": 5}).status_code == 201
    spec = SPEC | {"eval_file": ROWS}
    assert client.post("/v1/tasks", json={"template": "mine", "spec": SPEC}).status_code == 422
    assert client.post("/v1/tasks", json={"template": "mine", "spec": spec}).status_code == 201


@pytest.mark.parametrize("name", ["", "x" * 121, "a/b", "tab\t"[:4] + "x", "line\nx"])
def test_a_name_has_1_to_120_characters(client: TestClient, name: str) -> None:
    assert save(client, name).status_code == 422


def test_what_came_with_the_platform_stays(client: TestClient) -> None:
    for reply in (
        client.patch("/v1/templates/SFT", json={"parameters": {}}),
        client.delete("/v1/templates/SFT"),
        save(client, "SFT"),
    ):
        assert reply.status_code == 409
        assert error_of(reply).hint
    save(client)
    assert client.patch("/v1/templates/mine", json={"name": "SFT"}).status_code == 409


def test_no_two_have_one_name(client: TestClient) -> None:
    """A new name is refused as a new template is: the failed write leaves nothing to ask the row for."""
    for name in ("mine", "yours"):
        assert save(client, name).status_code == 201
    for reply in (save(client, "yours"), client.patch("/v1/templates/mine", json={"name": "yours"})):
        assert reply.status_code == 409
        assert "`yours`" in error_of(reply).message
    assert client.get("/v1/templates/mine").status_code == 200


def test_a_task_keeps_its_own_parameters(client: TestClient) -> None:
    """Neither a change nor the end of a template touches a task that was made from it."""
    save(client, parameters={"r": 8, "learning_rate": 5e-4})
    body = {"template": "mine", "spec": SPEC | {"lora_rank": 4}}
    task = client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"}).json()
    assert (task["spec"]["r"], task["spec"]["learning_rate"]) == (4, 5e-4), "what is given wins"
    assert any("`lora_rank` was read" in notice["message"] for notice in task["notices"])
    assert client.get("/v1/templates/mine").json()["parameters"]["r"] == 8, "that was for this task only"
    client.patch("/v1/templates/mine", json={"parameters": {"r": 2}})
    again = client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, task["id"]), "a repeat is a repeat"
    client.delete("/v1/templates/mine")
    assert client.get(f"/v1/tasks/{task['id']}").json()["spec"] == task["spec"]
    again = client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == task["id"]
    missing = client.post("/v1/tasks", json=body)
    assert (missing.status_code, error_of(missing).code) == (404, "not_found")


def test_a_template_may_hold_the_model_and_the_data(client: TestClient) -> None:
    save(client, parameters=SPEC)
    assert client.post("/v1/tasks", json={"template": "mine", "spec": {}}).status_code == 201
    problems = error_of(client.post("/v1/tasks", json={"spec": {}})).problems
    assert {problem.field for problem in problems} == {"spec.model_name_or_path", "spec.train_file"}


def test_a_tasks_parameters_become_a_template(client: TestClient) -> None:
    spec = SPEC | {
        "r": 4,
        "use_lora": True,
        "max_steps": 5,
        "output_dir": str(FOLDER / "o"),
        "eval_file": ROWS,
    }
    task = client.post("/v1/tasks", json={"spec": spec}).json()["id"]
    saved = save(client, from_task=task, parameters={"max_steps": 9}).json()
    assert saved["parameters"] == {"r": 4, "max_steps": 9}
    whole = save(client, "whole", from_task=task, with_places=True).json()["parameters"]
    assert whole == spec | {"use_lora": True} or whole == {k: v for k, v in spec.items() if k != "use_lora"}
    assert save(client, "none", from_task="task-0none").status_code == 404


def test_yaml_there_and_back(client: TestClient) -> None:
    parameters = {"r": 8, "eval_strategy": "no", "target_modules": ["q_proj"], "learning_rate": 2e-5}
    save(client, parameters=parameters, description="说明: yes", hides=["logging"])
    text = client.get("/v1/templates/mine/yaml")
    assert text.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(text.text)["parameters"] == parameters
    kept = client.get("/v1/templates/mine").json()
    client.delete("/v1/templates/mine")
    headers = {"Content-Type": "application/yaml"}
    back = client.post("/v1/templates:import", content=text.content, headers=headers)
    assert back.status_code == 201
    for field in ("name", "description", "hides", "parameters"):
        assert back.json()[field] == kept[field]
    by_hand = "name: hand\nparameters:\n  eval_strategy: no\n  learning_rate: 2e-4\n"
    reply = client.post("/v1/templates:import", content=by_hand, headers=headers)
    assert reply.json()["parameters"] == {"eval_strategy": "no", "learning_rate": 2e-4}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "name: [",
        "a: &x 1\nname: *x",
        "name: x\nparams: {}",
        "parameters: {}",
        "!!python/object:os.system {}",
    ],
)
def test_yaml_that_is_no_template_is_refused(client: TestClient, text: str) -> None:
    reply = client.post("/v1/templates:import", content=text, headers={"Content-Type": "application/yaml"})
    assert reply.status_code == 422
    assert error_of(reply).message


def test_pages_hold_every_template_once(client: TestClient) -> None:
    for i in range(5):
        save(client, f"t{i}")
    seen: list[str] = []
    after = None
    while True:
        page = client.get("/v1/templates", params={"limit": 2} | ({"after": after} if after else {})).json()
        seen += [item["name"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = page["next"]
    assert seen == [*builtins(), *(f"t{i}" for i in range(5))]


def test_chosen_parameters_make_the_same_task_again(plane: Plane) -> None:
    for given in ({}, {"use_lora": False}, {"r": 4, "eval_sampling_ratio": 0.1, "eval_strategy": "epoch"}):
        spec = TrainSpec.read(SPEC | given)
        kept = chosen(spec.model_dump(mode="json"))
        assert kept == SPEC | given
        assert TaskRequest(spec={}).complete(kept).spec == spec


@pytest.mark.slow
def test_the_wheel_carries_the_templates_the_samples_and_the_studio(tmp_path: Path) -> None:
    build_studio()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    studio = tmp_path / "site" / "tunesmith_ui"
    assert (studio / "built" / "index.html").is_file()
    assert list((studio / "built" / "assets").glob("*.js.gz"))
    assert not (studio / "web").exists(), "sources and packages stay at home"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from tunesmith_platform.templates import builtin;"
        "from tunesmith.evaluation.samples import default_samples;"
        "print(builtin.__file__, len(default_samples().samples), *builtin.builtins(), sep='|')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.strip().split("|")  # fmt: skip
    assert Path(found[0]).is_relative_to(tmp_path)
    assert int(found[1]) == len(default_samples().samples)
    assert found[2:] == list(builtins())


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("train", {"learning_rate": 1e-3}),
        ("evaluate", {"per_device_eval_batch_size": 4}),
        ("generate", {"max_new_tokens": 16}),
        ("package", {"device": "cpu"}),
    ],
)
def test_a_template_of_each_kind_leaves_the_model_and_the_rows_open(
    kind: str, parameters: dict[str, Any]
) -> None:
    assert check_parameters(parameters, kind) == (parameters, [])
    with pytest.raises(InvalidInput):
        check_parameters(parameters | {"device": "abacus"}, kind)


def test_a_template_is_taken_by_tasks_of_its_kind(client: TestClient) -> None:
    saved = {"name": "quick", "kind": "evaluate", "parameters": {"per_device_eval_batch_size": 4}}
    assert client.post("/v1/templates", json=saved).status_code == 201
    other = client.post("/v1/tasks", json={"kind": "train", "template": "quick", "spec": {}})
    problem = other.json()["error"]
    assert (other.status_code, problem["problems"][0]["field"]) == (422, "template")
    assert "tasks of kind `evaluate`" in problem["message"]
    own = client.post(
        "/v1/tasks", json={"kind": "evaluate", "template": "quick", "spec": {"task_id": "task-0"}}
    )
    (found,) = own.json()["error"]["problems"]
    assert (own.status_code, found["field"]) == (422, "spec.task_id"), "its parameters were complete"


def test_a_built_in_template_is_found_in_any_capitals_and_ones_own_comes_first(client: TestClient) -> None:
    assert client.get("/v1/templates/sft").json()["name"] == "SFT"
    assert client.get("/v1/templates/sft").json()["builtin"] is True
    own = client.post("/v1/templates", json={"name": "sft", "parameters": {"seed": 7}})
    assert own.status_code == 201, own.text
    assert client.get("/v1/templates/sft").json()["parameters"] == {"seed": 7}
    assert client.get("/v1/templates/SFT").json()["builtin"] is True
