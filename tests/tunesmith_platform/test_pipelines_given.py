"""What pipelines are given over HTTP: the chapter's own examples, and what may not be: nothing leads out of bounds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from pipeline_bench import FLOW, Bench, bench_of, states

from tunesmith.errors import ErrorResponse
from tunesmith.lifecycle import State

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pipelines"
LOADS = "components: [{id: a, type: datasets, provider: local, data_files: %s}]"


@pytest.fixture
def bench(plane: Plane, client: TestClient, tmp_path: Path) -> Bench:
    return bench_of(plane, client, tmp_path)


@pytest.mark.parametrize(
    ("text", "body", "code", "words"),
    [
        (LOADS % "/etc/passwd.jsonl", {}, "path_not_allowed", "outside the folders"),
        (LOADS % "../../../etc/x.jsonl", {}, "path_not_allowed", "outside the folders"),
        (LOADS % "a.jsonl", {"folder": None}, "invalid_input", "relative path"),
        (LOADS % "'${env.HOME}'", {}, "invalid_input", "may not be read"),
        (LOADS % "'${env.DATA}/x.jsonl'", {}, "invalid_input", "from the environment"),
        ("components: [{id: a, type: datasets, path: /etc}]", {}, "path_not_allowed", "outside the folders"),
        (
            "components: [{id: a, type: datasets, path: o/n, data_files: ../x}]",
            {},
            "invalid_input",
            "outside the data set",
        ),
        (
            "components: [{id: a, type: datasets, method: filter, dataset: nothing-here, condition: n > 1}]",
            {},
            "invalid_data",
            "nothing-here",
        ),
        (
            "components: [{id: t, type: model-trainer, dataset: a.jsonl, output_dir: /etc/x}]",
            {},
            "path_not_allowed",
            "outside the folders",
        ),
        (FLOW, {"workflow": "flo"}, "invalid_input", "Did you mean `flow`?"),
        (FLOW, {"overrides": {"trainr": {}}}, "invalid_input", "Did you mean `trainer`?"),
        (
            FLOW,
            {"overrides": {"trainer": {"learning_rte": 1}}},
            "invalid_input",
            "Did you mean `learning_rate`?",
        ),
        (FLOW, {"extra": 1}, "unknown_field", "extra"),
        (
            FLOW,
            {"overrides": {"trainer": {"x": json.loads("[" * 900 + "]" * 900)}}},
            "invalid_input",
            "deeply",
        ),
    ],
)
def test_what_may_not_be_is_refused_before_anything_runs(
    bench: Bench, text: str, body: dict[str, Any], code: str, words: str
) -> None:
    reply = bench.post(text, **body)
    assert reply.status_code == 422, reply.text
    error = ErrorResponse.model_validate(reply.json()).error
    assert error.code == code
    assert words in f"{error.message} {error.hint} {error.problems}"
    assert bench.client.get("/v1/pipelines").json()["data"] == []


@pytest.mark.parametrize(
    ("output", "dataset"),
    [
        ("${output}", "${jobs.a.output}/../../../../../secret.jsonl"),
        ("SECRET", "${jobs.a.output}"),
        ("data.jsonl", "${jobs.a.output}"),
    ],
)
def test_no_variable_leads_out_of_bounds(bench: Bench, output: str, dataset: str) -> None:
    secret = bench.folder.parent / "secret.jsonl"
    secret.write_text('{"n": 1}')
    flow = (
        "components: [{id: a, type: datasets, data_files: a.jsonl}, {id: ops, type: datasets}]\n"
        "workflows: [{id: w, jobs: [{id: a, component: a, output: '%s'},"
        " {id: b, component: ops, method: filter, input: {dataset: '%s', condition: n > 0}}]}]"
    )
    made = bench.made(flow % (output.replace("SECRET", str(secret)), dataset))
    view = bench.worked(made)
    assert states(view) == {"a": "completed", "b": "failed"}
    assert (
        "outside the folders" in view.message
        or "relative path" in view.message
        or "no dataset" in view.message
    )


def test_a_token_is_stored_nowhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = bench.made("components: [{id: a, type: datasets, path: o/n, token: '${env.HF_TOKEN}'}]")
    view = bench.worked(made)
    assert view.state is State.FAILED
    assert view.steps[0].parameters["token"] == "${env.HF_TOKEN}"
    for file in bench.plane.home.root.rglob("*"):
        if file.is_file():
            assert b"hf_secret" not in file.read_bytes(), file


class TestTheChaptersExamples:
    """Each file of `configs/pipelines` as it stands, on a few local rows."""

    def alpaca(self, bench: Bench) -> Path:
        folder = bench.folder / "alpaca"
        folder.mkdir()
        rows = [{"instruction": f"i{n}", "input": "", "output": f"o{n}"} for n in range(6)]
        (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return folder

    def test_alpaca(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
        bench.plane.jobs.has = replace(bench.plane.jobs.has, gpus=1)  # it trains in fp16
        where = {"path": str(self.alpaca(bench)), "cache_dir": str(bench.folder / "cache")}
        view = bench.worked(
            bench.made((CONFIGS / "alpaca-lora.yml").read_text(), overrides={"alpaca-loader": where})
        )
        assert states(view) == {"load-data": "completed", "train": "running"}, view.message
        spec = bench.plane.task(str(view.steps[1].task_id)).spec
        assert (spec["r"], spec["prompt_column"], spec["fp16"]) == (16, "instruction", True)
        assert spec["output_dir"] == str(bench.folder / "output" / "alpaca-lora")
        assert len(Path(spec["train_file"]).read_text().splitlines()) == 6

    def test_qlora(self, bench: Bench) -> None:
        rows = [json.dumps({"text": f"line {n}"}) for n in range(6)]
        (bench.folder / "text.jsonl").write_text("\n".join(rows))
        view = bench.worked(bench.made((CONFIGS / "qlora.yml").read_text(), input={"dataset": "text.jsonl"}))
        spec = bench.plane.task(str(view.steps[0].task_id)).spec
        assert (spec["load_in_4bit"], spec["packing"], spec["r"]) == (True, True, 64)
        assert spec["train_file"] == str(bench.folder / "text.jsonl")

    def test_custom_data(self, bench: Bench) -> None:
        (bench.folder / "data").mkdir()
        rows = [{"user_input": f"u{n}", "assistant_response": f"a{n}"} for n in range(6)]
        (bench.folder / "data" / "custom_train.json").write_text(json.dumps(rows))
        view = bench.worked(
            bench.made(
                (CONFIGS / "custom-data.yml").read_text(),
                input={"template": "{user_input} -> {assistant_response}"},
            )
        )
        assert states(view) == {"load": "completed", "process": "completed", "train": "running"}, view.message
        spec = bench.plane.task(str(view.steps[2].task_id)).spec
        first = json.loads(Path(spec["train_file"]).read_text().splitlines()[0])
        assert first == rows[0] | {"text": "u0 -> a0"}
