"""From submit to the first optimizer step: `ray job submit` of an equivalent script, our tasks cold, our tasks warm.

Run: `python tests/bench/start.py`. On one cluster the sides take turns: the script and a task with no warm runner, then
the script and a task that a warm runner takes. The script is what one would write with Ray Train, transformers and
peft. It goes to Ray's REST interface, so the seconds of the `ray` command itself do not count against it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from short_tasks import write_dialogues
from tiny_model import make_tiny_model

GATES = {"cold": 1.0, "warm": 0.25}
"""What a task's start may take at most, as a share of the script's."""
STEPS = 3

SCRIPT = """
import json, sys, time
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

def work(config):
    import ray.train.huggingface.transformers
    from peft import LoraConfig, get_peft_model
    from transformers import (AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer,
                              TrainerCallback, TrainingArguments)
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    rows = []
    for line in open(config["rows"]):
        text = tokenizer.apply_chat_template(json.loads(line)["messages"], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids})
    model = AutoModelForCausalLM.from_pretrained(config["model"])
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    class Stamp(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            if state.global_step == 1:
                with open(config["stamp"], "w") as out:
                    out.write(str(time.time()))
    arguments = TrainingArguments(
        output_dir=config["folder"], max_steps=config["steps"], per_device_train_batch_size=4,
        learning_rate=1e-4, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True)
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Stamp()],
                      data_collator=DataCollatorForSeq2Seq(tokenizer))
    ray.train.huggingface.transformers.prepare_trainer(trainer).train()

if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": config["cpus"]})
    TorchTrainer(work, train_loop_config=config, scaling_config=scaling,
                 run_config=RunConfig(name=config["name"], storage_path=config["folder"])).fit()
"""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """What a condition gives once it gives anything."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)
    return found


class Sides:
    """Submits each side's run and times its first step."""

    def __init__(self, root: Path, model: Path) -> None:
        from tunesmith import Client
        from tunesmith.home import Home
        from tunesmith.job import read_secret

        self.root, self.model, self.rows = root, model, root / "rows.jsonl"
        self.client = Client()
        home = Home()
        headers = {"Authorization": f"Bearer {read_secret(home.ray_token_file)}"}
        self.ray = httpx.Client(base_url=home.connection().ray_url or "", headers=headers, timeout=60)
        self.count = 0

    def script(self) -> float:
        """Seconds from handing the script to Ray until it has taken its first step."""
        self.count += 1
        name, file = f"script-{time.time_ns()}", self.root / "script.py"
        file.write_text(SCRIPT)
        stamp = self.root / f"{name}.stamp"
        config = {
            "model": str(self.model), "rows": str(self.rows), "stamp": str(stamp), "name": name, "steps": STEPS,
            "folder": str(self.root / "scripts"), "cpus": os.cpu_count(),
        }  # fmt: skip
        line = f"{sys.executable} {file} '{json.dumps(config)}'"
        began = time.time()
        self.ray.post("/api/jobs/", json={"submission_id": name, "entrypoint": line}).raise_for_status()

        def is_over() -> str | None:
            status = str(self.ray.get(f"/api/jobs/{name}").json()["status"])
            return status if status in ("SUCCEEDED", "FAILED", "STOPPED") else None

        status = wait_for(is_over, 300, "the script's end")
        assert status == "SUCCEEDED", self.ray.get(f"/api/jobs/{name}/logs").json()["logs"][-3000:]
        return float(stamp.read_text()) - began

    def task(self) -> tuple[float, dict[str, float]]:
        """Seconds from submitting a task until it has taken its first step, and those of each phase."""
        from tunesmith.spec.task import NewTrainTask

        spec = {
            "model_name_or_path": str(self.model), "train_file": str(self.rows), "max_steps": STEPS, "r": 16,
            "target_modules": ["all-linear"], "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
            "learning_rate": 1e-4, "logging_steps": 1, "save_strategy": "no", "gradient_checkpointing": False,
        }  # fmt: skip
        began = time.time()
        task = self.client.create_task(NewTrainTask.model_validate({"spec": spec}))
        done = self.client.wait(task.id, timeout=300)
        assert done.state == "completed", done.message
        phases: dict[str, float] = {}
        for event in self.client.events(task.id):
            payload = event.payload
            if payload.kind == "phase":
                phases[payload.phase] = payload.seconds
            elif payload.kind == "metrics" and "loss" in payload.values:
                return event.time.timestamp() - began, phases
        raise AssertionError("it took no step")


def take_turns(side: str, root: Path, model: Path, turns: int) -> float:
    """Print each turn's seconds; returns the median ratio."""
    tunesmith = [str(Path(sys.executable).parent / "tunesmith")]
    os.environ["TUNESMITH_WARM_RUNNERS"] = "1" if side == "warm" else "0"
    allow = ["--allow", str(root), "--allow", str(model.parent)]
    ratios = []
    try:
        subprocess.run([*tunesmith, "up", *allow], check=True, stdout=sys.stderr)
        sides = Sides(root, model)
        for turn in range(turns):
            theirs = sides.script()
            if side == "warm":
                wait_for(lambda: sides.client.system().warm_runners, 90, "a warm runner")
            ours, phases = sides.task()
            ratios.append(ours / theirs)
            words = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in phases.items())
            print(
                f"{side} {turn + 1}: script {theirs:.2f} s, task {ours:.2f} s ({words}), ratio {ratios[-1]:.3f}",
                flush=True,
            )
    finally:
        subprocess.run([*tunesmith, "down"], check=False, stdout=sys.stderr)
    return statistics.median(ratios)


def main() -> None:
    """Print the figures; the exit code says whether the gates hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="A model's folder; a tiny one of its own when not given.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", choices=[*GATES], action="append")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        root = Path(name)
        os.environ["TUNESMITH_HOME"] = str(root / "home")
        threads = os.environ.pop("OMP_NUM_THREADS", None)
        model = options.model or make_tiny_model(root / "models" / "tiny")
        os.environ.pop("OMP_NUM_THREADS", None)  # the platform's processes decide themselves
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        write_dialogues(root / "rows.jsonl", 64)
        medians = {side: take_turns(side, root, model, options.turns) for side in options.side or GATES}
    for side, median in medians.items():
        print(f"{side}: {median:.3f} of the script's seconds (at most {GATES[side]})")
    sys.exit(any(median > GATES[side] for side, median in medians.items()))


if __name__ == "__main__":
    main()
