"""What an evaluation costs the training beside it: `python tests/bench/beside.py [--model FOLDER] [--turns 5]`.

A training on one thread runs beside each of two neighbours in turn, both on one thread and of the priority that Ray
gives its workers: the evaluation's engine, which answers prompts with an adapter without end, and the bare matrix
products of the same model. What two processes take of each other's caches and memory is the same then; what is left is
what the evaluation does besides. The bar is 0.97 of the training's speed beside the products.

Needs two processors that nothing else wants: the spread of the turns says whether they were.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PATHS = [str(FOLDER), str(FOLDER.parent), str(FOLDER.parent / "tunesmith_jobs")]
sys.path[:0] = PATHS

from small_models import model_of  # noqa: E402
from training import bare, write_rows  # noqa: E402

BAR = 0.97
NEIGHBOUR = """
import itertools, os, sys
from pathlib import Path
os.nice(15)
sys.path[:0] = sys.argv[4:]
import torch
from engine_cases import document, prompts
from evaluation import make_adapters
from tunesmith_jobs.evaluate.engine import Engine, Sampling
torch.set_num_threads(1)
kind, model, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
asked = prompts(32, low=60, high=121, words=250)
(adapter,) = make_adapters(model, folder, 1)
engine = Engine.of(document(model, adapter), folder)
layers = [one for one in engine.used.model.modules() if isinstance(one, torch.nn.Linear)]
print("ready", flush=True)
with torch.no_grad():
    while True:
        if kind == "evaluation":
            engine.answer(asked, Sampling(max_new_tokens=32, batch_size=32))
        else:
            for layer in layers:
                layer(torch.ones(256, layer.in_features))
"""


@contextlib.contextmanager
def neighbour(kind: str, model: Path) -> Iterator[None]:
    """A process that computes meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        busy = subprocess.Popen(
            [sys.executable, "-c", NEIGHBOUR, kind, str(model), folder, *PATHS],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert busy.stdout is not None
            while busy.stdout.readline().strip() != "ready":
                assert busy.poll() is None, "the neighbour ended"
            time.sleep(1)
            yield
            assert busy.poll() is None, "the neighbour ended"
        finally:
            busy.kill()
            busy.wait()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="Of the neighbours; a small one when not given.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        trained = model_of("llama", root / "trained", hidden_size=256, num_hidden_layers=4)
        asked = options.model or trained
        write_rows(root / "rows.jsonl")
        spec = {
            "model_name_or_path": str(trained), "train_file": str(root / "rows.jsonl"), "max_steps": options.steps,
            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_length": 256,
            "logging_steps": 1, "save_strategy": "no", "gradient_checkpointing": False,
        }  # fmt: skip
        ratios = []
        for turn in range(options.turns):
            found = {}
            for kind in ("products", "evaluation") if turn % 2 else ("evaluation", "products"):
                with neighbour(kind, asked):
                    found[kind] = bare(spec, root / f"{kind}-{turn}", 1)
            ratios.append(found["evaluation"] / found["products"])
            print(
                f"steps/s beside an evaluation {found['evaluation']:.2f}, beside products {found['products']:.2f}: "
                f"{ratios[-1]:.3f}",
                flush=True,
            )
        middle = statistics.median(ratios)
        print(f"median {middle:.3f} >= {BAR}: {'met' if middle >= BAR else 'NOT met'}")


if __name__ == "__main__":
    main()
