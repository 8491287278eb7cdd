"""Pipelines: the YAML of the training chapter as it stands, and what is wrong with one before it runs."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.spec.pipeline import Step, plan
from tunesmith.spec.pipeline_file import read_pipeline
from tunesmith.spec.variables import resolve

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pipelines"
LOAD = "{id: load, type: datasets, provider: local, data_files: /d.jsonl}"
OPS = "{id: ops, type: datasets}"
TRAINER = "{id: trainer, type: model-trainer, task: sft, dataset: '${input.dataset}', num_epochs: 1}"


def steps(text: str, **options: Any) -> list[Step]:
    return plan(read_pipeline(text), model=options.pop("model", "m"), **options)


def file_of(jobs: str, components: str = f"[{LOAD}, {OPS}, {TRAINER}]") -> str:
    return f"components: {components}\nworkflows:\n  - id: flow\n    jobs: {jobs}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${input.x}", "5"),
        ("${input.x as number | 1.0}", 5),
        ("${input.y as number | 1.0}", 1.0),
        ("${input.y as integer | 3}", 3),
        ("${input.y | tatsu-lab/alpaca}", "tatsu-lab/alpaca"),
        ("${input.y as boolean | no}", False),
        ("${input.y | null}", None),
        ("${input.y |}", None),
        ("${input.none | d}", "d"),
        ("${input.list}", [1, 2]),
        ("${input.deep.a}", 1),
        ("a ${input.x} and ${input.list}", "a 5 and [1, 2]"),
        ("${jobs.a.output}", "${jobs.a.output}"),
        ("$x ${", "$x ${"),
        (["${input.x}", {"k": "${input.x}"}], ["5", {"k": "5"}]),
    ],
)
def test_what_a_variable_stands_for(text: Any, value: Any) -> None:
    scope = {"input": {"x": "5", "none": None, "list": [1, 2], "deep": {"a": 1}}}
    assert resolve(text, scope) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${inputs.x}", "Did you mean `input`?"),
        ("${input.datset}", "Did you mean `dataset`?"),
        ("${input.zzz}", "--input zzz"),
        ("${input.dataset as number}", "Give another value"),
        ("${input.dataset as nothing}", "Types are"),
        ("${__import__('os')}", "Write `"),
        ("${}", "Write `"),
    ],
)
def test_a_variable_that_means_nothing_is_said_with_the_cure(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve(text, {"input": {"dataset": "d"}})
    assert words in str(caught.value.hint)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yml")), ids=lambda file: file.stem)
def test_every_example_is_a_pipeline(file: Path) -> None:
    inputs = {"dataset": "/d.jsonl", "template": "{text}", "condition": "len(text) > 1"}
    found = steps(file.read_text(), inputs=inputs)
    assert found


def test_the_chapters_alpaca_example_as_it_stands() -> None:
    load, train = steps((CONFIGS / "alpaca-lora.yml").read_text())
    assert (load.kind, load.method, load.parameters) == (
        "dataset",
        "load",
        {"provider": "huggingface", "path": "tatsu-lab/alpaca", "split": "train"},
    )
    assert (train.kind, train.needs) == ("train", ["load-data"])
    assert train.parameters["train_file"] == "${jobs.load-data.output}"
    assert (train.parameters["r"], train.parameters["training_type"]) == (16, "sft")


def test_our_own_steps_use_what_a_trainer_hands_on() -> None:
    found = {step.id: step for step in steps((CONFIGS / "train-and-package.yml").read_text())}
    evaluate, ask, package = (found[name] for name in ("evaluate", "ask", "package"))
    assert [step.kind for step in (evaluate, ask, package)] == ["evaluate", "generate", "package"]
    assert evaluate.parameters == {
        "model_name_or_path": "${jobs.train.output}",
        "eval_file": "${jobs.split.output.eval}",
    }
    assert (evaluate.needs, package.needs) == (["train", "split"], ["evaluate", "train"])
    assert ask.parameters["max_new_tokens"] == 64


def test_a_file_that_names_what_was_renamed_is_read_with_a_notice() -> None:
    now = (CONFIGS / "train-and-package.yml").read_text()
    before = now.replace("model-generator", "model-chat").replace("method: generate", "method: chat")
    assert before != now
    old, new = steps(before), steps(now)
    assert [step.model_copy(update={"notices": []}) for step in old] == new
    assert not any(step.notices for step in new)
    said = {step.id: [(notice.field, notice.message) for notice in step.notices] for step in old}
    assert said.pop("ask") == [
        ("type", "`model-chat` was read as `model-generator`."),
        ("method", "`chat` was read as `generate`."),
    ]
    assert not any(said.values())


@pytest.mark.parametrize("kind", ["trainer", "evaluator", "packager"])
def test_a_renamed_method_is_none_of_another_component(kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        steps(f"component: {{id: a, type: model-{kind}, method: chat, model: m}}", inputs={"dataset": "/d"})
    assert "no method `chat`" in str(caught.value)


def test_a_jobs_input_goes_over_its_component_and_into_its_variables() -> None:
    flow = file_of(
        "[{id: a, component: load,"
        " input: {data_files: '${input.file | /x.csv}', fraction: '${input.f as number | 0.5}'}},"
        " {id: b, component: ops, method: concat, input: {datasets: ['${jobs.a.output}', /y.jsonl]}},"
        " {id: t, component: trainer, input: {dataset: '${jobs.b.output}', lr: 1e-4}}]"
    )
    flow = flow.replace("lr: 1e-4", "learning_rate: 1e-4")
    a, b, t = steps(flow, inputs={"f": 0.1}, overrides={"trainer": {"num_epochs": 2}})
    assert (a.parameters["data_files"], a.parameters["fraction"]) == ("/x.csv", 0.1)
    assert (b.needs, t.needs) == (["a"], ["b"])
    assert (t.parameters["num_train_epochs"], t.parameters["train_file"]) == (2, "${jobs.b.output}")


def test_independent_jobs_wait_for_nothing_and_order_is_found() -> None:
    flow = file_of(
        "[{id: c, component: ops, method: concat, depends_on: [a, b],"
        " input: {datasets: ['${jobs.a.output}', '${jobs.b.output}']}},"
        " {id: a, component: load}, {id: b, component: load}]"
    )
    assert [(step.id, step.needs) for step in steps(flow)] == [("a", []), ("b", []), ("c", ["a", "b"])]


def test_eval_data_turns_evaluation_on() -> None:
    (step,) = steps(
        f"component: {TRAINER[:-1]}, eval_dataset: /e.jsonl, eval_steps: 5}}", inputs={"dataset": "/d"}
    )
    assert step.parameters["eval_strategy"] == "steps"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("components: [{id: a, type: dataset}]", "components[a].type", "one of `datasets`"),
        ("components: [{id: a, type: datasets}]\nworkfows: []", "workfows", "not a known field"),
        (file_of("[{id: a, component: lod}]"), "workflows[flow].jobs[a].component", "Did you mean `load`?"),
        (
            file_of("[{id: a, component: load, depends_on: [b]}]"),
            "workflows[flow].jobs[a].depends_on",
            "no job `b`",
        ),
        (
            file_of("[{id: a, component: ops, method: filtr}]"),
            "workflows[flow].jobs[a].method",
            "Did you mean `filter`?",
        ),
        (
            file_of("[{id: a, component: ops, method: filter, input: {dataset: /x, condition: 'a ='}}]"),
            "workflows[flow].jobs[a].condition",
            "character 3",
        ),
        (
            file_of("[{id: a, component: load, input: {fractoin: 0.1}}]"),
            "workflows[flow].jobs[a].input.fractoin",
            "Did you mean `fraction`?",
        ),
        (
            file_of(
                "[{id: a, component: ops, method: map, input: {dataset: '${jobs.b.output}', template: x}}]"
            ),
            "workflows[flow].jobs[a]",
            "no job `b`",
        ),
        (
            file_of("[{id: t, component: trainer, input: {dataset: /d, text_column: a, prompt_column: b}}]"),
            "workflows[flow].jobs[t].text_column",
            "exclude each other",
        ),
        (
            file_of("[{id: t, component: trainer, input: {dataset: /d, learning_rate: fast}}]"),
            "workflows[flow].jobs[t].learning_rate",
            "valid number",
        ),
        (file_of("[{id: t, component: trainer}]"), "workflows[flow].jobs[t]", "--input dataset="),
        (
            file_of("[{id: a, component: load, input: {trust_remote_code: true}}]"),
            "workflows[flow].jobs[a].trust_remote_code",
            "never run",
        ),
        (
            file_of("[{id: t, component: trainer, input: {dataset: /d, output_dir: '${env.API_KEY}'}}]"),
            "workflows[flow].jobs[t].output_dir",
            "is a secret",
        ),
        (
            file_of("[{id: a, component: load, depends_on: [b]}, {id: b, component: load, depends_on: [a]}]"),
            "depends_on",
            "wait for each other",
        ),
        (file_of("[{id: a, component: load}, {id: a, component: load}]"), "workflows[flow].jobs", "twice"),
        (f"components: [{LOAD}, {OPS}]", "workflows", "no workflow"),
        (
            file_of(
                "[{id: s, component: ops, method: split, input: {dataset: /x}},"
                " {id: t, component: trainer, input: {dataset: '${jobs.s.output}'}}]"
            ),
            "workflows[flow].jobs[t]",
            "output.train",
        ),
    ],
)
def test_what_is_wrong_is_found_before_anything_runs(text: str, place: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        steps(text)
    (problem,) = caught.value.problems
    assert problem.field == place
    assert words in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\nb: *a",
        "[1, 2]",
        "{",
        "components: !!python/object/apply:os.system ['true']",
        "[" * 1500,
        "x" * 300_000,
    ],
)
def test_what_is_no_yaml_of_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_pipeline(text)


def test_a_model_is_needed_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        steps(f"component: {TRAINER}", inputs={"dataset": "/d"}, model=None)
    assert "--model NAME" in str(caught.value.hint)
