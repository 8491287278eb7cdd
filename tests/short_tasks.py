"""Short training tasks on a running platform: their rows, how they are submitted, what they measured."""

import json
from pathlib import Path
from typing import Any

from tunesmith.client import Client
from tunesmith.spec.task import NewTrainTask
from tunesmith.views import TaskView


def write_dialogues(file: Path, count: int = 40) -> Path:
    """Short dialogues."""
    with file.open("w") as out:
        for i in range(count):
            talk = [
                {"role": "user", "content": f"what is {i} plus {i}?"},
                {"role": "assistant", "content": f"it is {i + i}, of course."},
            ]
            out.write(json.dumps({"messages": talk}) + "\n")
    return file


def submit_short(client: Client, model: Path, rows: Path, steps: int, **spec: Any) -> TaskView:
    """Submit a task that takes so many quick steps and saves now and then."""
    base = {
        "model_name_or_path": str(model),
        "train_file": str(rows),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": steps,
        "save_steps": 25,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "lora_dropout": 0.1,
        "gradient_checkpointing": False,
    }
    return client.create_task(NewTrainTask.model_validate({"spec": base | spec}))


def losses(client: Client, task: TaskView) -> dict[int, float]:
    """Step -> loss."""
    return {point.step: point.value for point in client.metrics(task.id).series["loss"]}
