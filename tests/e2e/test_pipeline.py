"""A pipeline file on the real platform: rows are loaded, chosen and mapped as Ray jobs, a task trains on them, and its
model is evaluated (asking and packaging go the same way; `test_model_tasks` does their work)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from live_platform import Platform
from short_tasks import wait_warm

from tunesmith.lifecycle import State

PIPELINE = """
components:
  - id: rows
    type: datasets
    provider: local
    loader: json
    data_files: {rows}
  - id: long-ones
    type: datasets
    method: filter
    condition: "len(answer) > 2"
  - id: texts
    type: datasets
    method: map
    template: "Q: {{question}} A: {{answer}}"
    output_column: text
    remove_columns: [question, answer]
  - id: trainer
    type: model-trainer
    task: sft
    model: {model}
    text_column: text
    peft_adapter: lora
    lora_r: 4
    num_epochs: 1
    per_device_train_batch_size: 4
  - {{id: evaluator, type: model-evaluator}}
workflows:
  - id: main
    jobs:
      - {{id: load, component: rows}}
      - {{id: choose, component: long-ones, input: {{dataset: "${{jobs.load.output}}"}}}}
      - {{id: process, component: texts, input: {{dataset: "${{jobs.choose.output}}"}}}}
      - {{id: train, component: trainer, input: {{dataset: "${{jobs.process.output}}"}}}}
      - id: evaluate
        component: evaluator
        input: {{model: "${{jobs.train.output}}", dataset: "${{jobs.process.output}}"}}
"""


@pytest.mark.e2e
@pytest.mark.slow
def test_a_pipeline_runs_from_rows_to_an_evaluated_model(warm: Platform) -> None:
    client, rows = warm.client, warm.folder / "questions.json"
    rows.write_text(json.dumps([{"question": f"{i}?", "answer": str(i * 10)} for i in range(40)]))
    document = PIPELINE.format(rows=rows, model=warm.model)
    wait_warm(client)
    started = client.pipelines.run({"yaml": document})
    done = client.pipelines.wait(started.id)
    assert done.state is State.COMPLETED, done
    train = next(step for step in done.steps if step.id == "train")
    task = client.task(train.task_id or "")
    assert task.state is State.COMPLETED
    assert task.progress.step == 2, "30 rows have three digits, 16 rows a step"
    evaluate = done.steps[-1]
    assert (evaluate.output["metrics"]["rows"], evaluate.output["metrics"]["loss"] > 0) == (30, True)
    used = client.task(evaluate.task_id or "")
    assert (used.kind, used.parent_id, used.state) == ("evaluate", task.id, State.COMPLETED)
    steps = {step.task_id for step in done.steps}
    made = [task for task in client.tasks(kind="dataset") if task.id in steps]
    assert [task.state for task in made] == [State.COMPLETED] * 3, "each step on data is a task"
    assert all(task.progress.percent == 100 for task in made)
    again = client.pipelines.wait(client.pipelines.run({"yaml": document}).id)
    assert again.state is State.COMPLETED
    assert all(step.is_reused for step in again.steps), "identical steps are taken by content"


COMPARED = """
components:
  - id: trainer
    type: model-trainer
    task: sft
    model: {model}
    dataset: {rows}
    peft_adapter: lora
    lora_r: 4
    learning_rate: 1e-2
    max_steps: 30
    save_steps: 15
    precision: fp32
  - id: comparison
    type: model-evaluator
    checkpoints: [all]
    samples: {samples}
    max_new_tokens: 4
    embedder: none
workflows:
  - id: main
    jobs:
      - {{id: train, component: trainer}}
      - id: compare
        component: comparison
        input: {{model: "${{jobs.train.output}}"}}
        output: {{best: "${{output.recommended}}", scores: "${{output.scores}}"}}
"""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.long
def test_a_step_compares_the_checkpoints_of_the_training_before_it_and_a_gate_says_what_is_lost(
    warm: Platform,
) -> None:
    client, samples = warm.client, warm.folder / "asked.json"
    asked = [{"prompt": f"what is {i} plus {i}?", "completion": f"it is {i + i}."} for i in range(100, 140)]
    samples.write_text(json.dumps({"validation": asked}))
    document = COMPARED.format(rows=warm.rows, model=warm.model, samples=samples)
    wait_warm(client)
    done = client.pipelines.wait(client.pipelines.run({"yaml": document}).id)
    assert done.state is State.COMPLETED, done
    train, compare = done.steps
    keys = {"base", f"{train.task_id}/checkpoint-15", f"{train.task_id}/checkpoint-30"}
    assert compare.output["scores"].keys() == keys
    assert compare.output["best"] in keys | {None}
    found = client.evaluation(str(compare.task_id))
    assert all(one.answered == one.total == 40 for one in found.candidates)
    assert client.task(str(compare.task_id)).parent_id == train.task_id
    # Thirty steps at a high rate make the expected answers far likelier than the base's.
    assert _gate(warm, str(compare.task_id), "base") == 0
    assert _gate(warm, str(compare.task_id), "base", "-c", "15") in (0, 2)
    assert _gate(warm, str(compare.task_id), f"{train.task_id}:30", "-c", "base") == 1
    assert _gate(warm, str(compare.task_id), "99") == 4


def _gate(platform: Platform, task_id: str, *more: str) -> int:
    """The exit code of the gate."""
    command = [str(Path(sys.executable).with_name("tunesmith")), "evaluate", task_id, "--gate", *more]
    environment = {**os.environ, "TUNESMITH_HOME": str(platform.home.root)}
    return subprocess.run(command, env=environment, check=False, timeout=120).returncode
