"""A stand-in for lm-eval: as much of it as is called, in the shapes of 0.4.13. Not a test itself.

`test_evaluate_benchmarks.py` holds the real one to the same, where it is installed.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "0.4.13"
TASKS = """
class TaskManager:
    def __init__(self, include_defaults=True):
        self.all_tasks = ["two_plus", "two_plus_hard", "mine_too", "asleep"] if include_defaults else []
"""
UTILS = """
import jinja2

env = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
env.filters["regex_replace"] = lambda text: text
"""
MODELS = """
class HFLM:
    def __init__(self, pretrained, tokenizer, batch_size):
        self.model, self.tokenizer, self.batch_size = pretrained, tokenizer, batch_size
"""
MAIN = """
import json
from lm_eval import utils


def simple_evaluate(*, model, tasks, task_manager, limit, num_fewshot, bootstrap_iters, log_samples,
                    confirm_run_unsafe_code):
    assert not confirm_run_unsafe_code and not log_samples
    (task,) = tasks
    name, shots = task, num_fewshot or 0
    if isinstance(task, dict):
        name = task["task"]
        rows = [json.loads(line) for line in open(task["dataset_kwargs"]["data_files"]["test"])]
        texts = [utils.env.from_string(task["doc_to_text"]).render(**row) for row in rows]
    else:
        assert name in task_manager.all_tasks
        if name == "asleep":
            raise ConnectionError("the hub is out of reach")
        texts = ["Two plus two is", "Three plus one is", "Zero plus four is"]
    texts = texts[:limit]
    import torch

    with torch.no_grad():
        values = [float(model.model(torch.tensor([model.tokenizer(text)["input_ids"]])).logits.float().std())
                  for text in texts]
    figures = {"alias": name, "acc,none": sum(values) / len(values), "acc_stderr,none": 0.25}
    return {"results": {name: figures}, "versions": {name: 1.0}, "n-shot": {name: shots},
            "higher_is_better": {name: {"acc": True}},
            "n-samples": {name: {"original": 3, "effective": len(texts)}}}
"""


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the stand-in found, here and by processes that are started."""
    files = {"__init__.py": MAIN, "tasks.py": TASKS, "utils.py": UTILS, "models/__init__.py": "",
             "models/huggingface.py": MODELS}  # fmt: skip
    for name, text in files.items():
        file = folder / "lm_eval" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    about = folder / f"lm_eval-{VERSION}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: lm_eval\nVersion: {VERSION}\n")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "lm_eval"}
    monkeypatch.syspath_prepend(str(folder))
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{old}" if old else str(folder))
    importlib.invalidate_caches()
    yield
    for name in list(sys.modules):
        if name.split(".")[0] == "lm_eval":
            del sys.modules[name]
    sys.modules.update(before)
