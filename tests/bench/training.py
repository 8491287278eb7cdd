"""What a task costs over the bare training function, and where the time before the first step goes.

Run: `python tests/bench/training.py`. Starts a platform of its own, then takes turns: the same spec as a task, and as a
plain call of `train` in a process of its own with as many threads, on the same machine in the same minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_model import make_tiny_model

TURNS = 3
SKIPPED = 0.2
"""The share of the steps at the start that is not counted: kernels and caches warm up."""


def write_rows(path: Path) -> None:
    """Dialogues of some 60 tokens."""
    with path.open("w") as out:
        for i in range(400):
            answer = f"It is {i + i}, of course; and twice that is {4 * i}. " * 4
            messages = [
                {"role": "user", "content": f"What is {i} plus {i}?"},
                {"role": "assistant", "content": answer},
            ]
            out.write(json.dumps({"messages": messages}) + "\n")


def rate(times: dict[int, float]) -> float:
    """Steps per second between the skipped start and the last step, from each step's time in seconds."""
    last = max(times)
    first = max(1, int(last * SKIPPED))
    return (last - first) / (times[last] - times[first])


BARE = """
import json, os, sys, time
from pathlib import Path
os.nice(15)  # as Ray starts its workers: on a shared machine another priority is another speed
from tunesmith.lifecycle import Desired
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.train.core import train
from tunesmith_jobs.train.job import Identity, Paths
spec, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
class Times:
    desired, superseded, save_now, pinned, listed = Desired.RUN, False, 0, (), None
    early_stop = None
    def __init__(self):
        self.steps, self.activities = {}, Activities()
    def emit(self, payload, time_=None):
        if payload.kind == "metrics" and "loss" in payload.values:
            self.steps[payload.step] = time.perf_counter()
outlet = Times()
paths = Paths(model=Path(spec["model_name_or_path"]), train=Path(spec["train_file"]), eval=None,
              artifact_uri=str(folder / "artifacts"), scratch=folder / "scratch")
outcome = train(TrainSpec.read(spec), paths, outlet, Identity("bare"))
assert outcome.outcome == "completed", outcome
print(json.dumps(outlet.steps))
"""


def bare(spec: dict[str, Any], folder: Path, threads: int) -> float:
    """Steps per second of the plain function."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", BARE, json.dumps(spec), str(folder)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return rate({int(step): at for step, at in json.loads(done.stdout.splitlines()[-1]).items()})


def as_task(client: Any, spec: dict[str, Any]) -> tuple[float, int, dict[str, float]]:
    """Steps per second inside a task, its threads, and the seconds of each phase of its start."""
    from tunesmith.spec.task import NewTrainTask

    task = client.create_task(NewTrainTask.model_validate({"spec": spec}))
    done = client.wait(task.id, timeout=900)
    assert done.state == "completed", done.message
    times: dict[int, float] = {}
    phases: dict[str, float] = {}
    threads = 1
    for event in client.events(task.id):
        payload = event.payload
        if payload.kind == "metrics" and "loss" in payload.values:
            times[payload.step] = event.time.timestamp()
        elif payload.kind == "phase":
            phases[payload.phase] = payload.seconds
        elif payload.kind == "training_started":
            threads = int(payload.facts["threads"])
    phases["submit -> first step"] = times[min(times)] - done.created_at.timestamp()
    return rate(times), threads, phases


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--logging-steps", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        model = make_tiny_model(root / "models" / "small", hidden=options.hidden, layers=4)
        write_rows(root / "rows.jsonl")
        spec = {
            "model_name_or_path": str(model), "train_file": str(root / "rows.jsonl"), "max_steps": options.steps,
            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_length": 256,
            "logging_steps": options.logging_steps, "save_strategy": "no", "gradient_checkpointing": False,
        }  # fmt: skip
        os.environ["TUNESMITH_HOME"] = str(root / "home")
        tunesmith = [str(Path(sys.executable).parent / "tunesmith")]
        subprocess.run([*tunesmith, "up", "--allow", str(root)], check=True, stdout=sys.stderr)
        try:
            from tunesmith import Client

            client, ratios = Client(), []
            for turn in range(TURNS):
                inside, threads, phases = as_task(client, spec)
                outside = bare(spec, root / f"bare-{turn}", threads)
                ratios.append(inside / outside)
                print(
                    f"turn {turn + 1}: task {inside:.2f} steps/s, bare {outside:.2f} steps/s, ratio {ratios[-1]:.3f}"
                )
                print("  " + ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in phases.items()))
            print(
                f"steps/s in a task against bare: median {statistics.median(ratios):.3f}, best {max(ratios):.3f}"
            )
        finally:
            subprocess.run([*tunesmith, "down"], check=False, stdout=sys.stderr)


if __name__ == "__main__":
    main()
