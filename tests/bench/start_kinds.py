"""From submit to the first work of a task of each kind that warm runners do: in one, against a job of its own.

Run: `python tests/bench/start_kinds.py`. Two platforms, one after the other in one run: without a warm runner, and with
one that is waited for before each task. The first work begins when the last phase of the start is reported: imports,
weights and rows are there (of a training, its first step is taken). What counts is the ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from short_tasks import write_dialogues
from start import wait_for
from tiny_model import make_tiny_model

GATE = 0.5
"""What a start in a warm runner may take at most, as a share of one in a job of its own."""


def tasks(model: Path, rows: Path, root: Path, turn: int) -> dict[str, dict[str, Any]]:
    """A short task of each kind."""
    given = {"model_name_or_path": str(model)}
    return {
        "train": given
        | {"train_file": str(rows), "max_steps": 2, "save_strategy": "no", "gradient_checkpointing": False},
        "evaluate": given | {"eval_file": str(rows)},
        "generate": given | {"prompts": ["What is 1 plus 1?"], "max_new_tokens": 8},
        "package": given | {"output_dir": str(root / f"packaged-{time.time_ns()}-{turn}")},
    }


def first_work(client: Any, kind: str, spec: dict[str, Any]) -> float:
    """Seconds from submitting a task until its first work begins."""
    began = time.time()
    task = client.create_task({"kind": kind, "spec": spec})
    done = client.wait(task.id, timeout=300)
    assert done.state == "completed", done.message
    phases = [event.time.timestamp() for event in client.events(task.id) if event.payload.kind == "phase"]
    return max(phases) - began


def measure(runners: int, root: Path, model: Path, turns: int) -> dict[str, float]:
    """The median seconds of each kind on a platform with so many warm runners."""
    from tunesmith import Client

    tunesmith = [str(Path(sys.executable).parent / "tunesmith")]
    os.environ["TUNESMITH_WARM_RUNNERS"] = str(runners)
    rows = write_dialogues(root / "rows.jsonl", 64)
    found: dict[str, list[float]] = {}
    try:
        subprocess.run(
            [*tunesmith, "up", "--allow", str(root), "--allow", str(model.parent)],
            check=True,
            stdout=sys.stderr,
        )
        client = Client()
        for turn in range(turns):
            for kind, spec in tasks(model, rows, root, turn).items():
                if runners:
                    wait_for(lambda: client.system().warm_runners, 180, "a warm runner")
                found.setdefault(kind, []).append(first_work(client, kind, spec))
                print(f"{runners} runners, {kind}: {found[kind][-1]:.2f} s", flush=True)
    finally:
        subprocess.run([*tunesmith, "down"], check=False, stdout=sys.stderr)
    return {kind: statistics.median(seconds) for kind, seconds in found.items()}


def main() -> None:
    """Print the figures; the exit code says whether the gate holds for every kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        root = Path(name)
        os.environ["TUNESMITH_HOME"] = str(root / "home")
        model = make_tiny_model(root / "models" / "tiny")
        os.environ.pop("OMP_NUM_THREADS", None)  # the platform's processes decide themselves
        cold, warm = (measure(runners, root, model, options.turns) for runners in (0, 1))
    ratios = {kind: warm[kind] / seconds for kind, seconds in cold.items()}
    for kind, ratio in ratios.items():
        print(f"{kind}: cold {cold[kind]:.2f} s, warm {warm[kind]:.2f} s, ratio {ratio:.3f} (at most {GATE})")
    sys.exit(any(ratio > GATE for ratio in ratios.values()))


if __name__ == "__main__":
    main()
