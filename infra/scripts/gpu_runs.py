"""Runs of the training core for `test_gpu.py`, on models and rows that they make; their outlet keeps what is said.

Knows `core.train`, and where this repository's code lies; knows nothing of what is checked or measured.
"""

import gc
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
for folder in ("platform", "jobs", "tests"):
    sys.path.insert(0, str(ROOT / folder))
os.environ.setdefault("HF_HUB_OFFLINE", "1")


class Shape(NamedTuple):
    """A Llama, and the batches it is measured with."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    words: int
    length: int
    batch: int

    @property
    def config(self) -> dict[str, Any]:
        """The fields of a `LlamaConfig`."""
        return {
            "hidden_size": self.hidden, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "vocab_size": self.words,
            "max_position_embeddings": self.length, "tie_word_embeddings": self.layers < 20,
        }  # fmt: skip


class Result(NamedTuple):
    """One line of the report."""

    name: str
    state: str
    """`ok`, `failed`, `skipped` or `measured`."""
    words: str
    figures: dict[str, float]


class Skipped(Exception):
    """A check that cannot be made here."""


class Outlet:
    """Keeps what a run says, with the time; may ask for a stop."""

    def __init__(self, stop_at: int | None = None) -> None:
        from tunesmith.lifecycle import Desired
        from tunesmith_jobs.activities import Activities

        self.activities = Activities()
        self.desired, self.superseded, self.save_now, self.early_stop = Desired.RUN, False, 0, None
        self.pinned: frozenset[int] | None = frozenset()
        self.listed: frozenset[int] | None = None
        self.facts: dict[str, Any] = {}
        self.values: dict[int, dict[str, float]] = {}
        self.times: dict[int, float] = {}
        self._stop_at, self._stop = stop_at, Desired.STOP

    def emit(self, payload: Any, time_: Any = None) -> None:
        """Take one event."""
        if payload.kind == "training_started":
            self.facts = payload.facts
        elif payload.kind == "metrics" and "loss" in payload.values:
            self.values[payload.step] = payload.values
            self.times[payload.step] = time.perf_counter()
            if payload.step == self._stop_at:
                self.desired = self._stop

    @property
    def losses(self) -> dict[int, float]:
        """Step -> loss."""
        return {step: values["loss"] for step, values in self.values.items()}


class Bench:
    """Runs the core on models and rows that it makes in a folder."""

    def __init__(self, root: Path, is_cpu: bool) -> None:
        self.root, self.is_cpu = root, is_cpu
        self.peak = 0
        """The most memory that the last run held, in bytes."""
        self._runs = 0
        self.small = self._make_small()

    def _make_small(self) -> Path:
        """A model that is on disk, for the checks: some millions of parameters on a GPU, a tiny one on a CPU."""
        from tiny_model import make_tiny_model

        size = {"hidden": 64, "layers": 2} if self.is_cpu else {"hidden": 512, "layers": 8}
        return make_tiny_model(self.root / "small", **size)

    def make_config(self, name: str, shape: Shape) -> Path:
        """A folder with a configuration and a tokenizer, and no weights."""
        from tiny_model import make_tokenizer_folder
        from transformers import LlamaConfig

        folder = make_tokenizer_folder(self.root / name)
        LlamaConfig(**shape.config, bos_token_id=None, eos_token_id=2, pad_token_id=3).save_pretrained(folder)
        return folder

    def rows(self, name: str, count: int, words: tuple[int, int], seed: int = 1) -> Path:
        """Dialogues whose answers have between so many and so many words."""
        draw = random.Random(seed)  # noqa: S311  (no secret is drawn)
        file = self.root / f"{name}.jsonl"
        with file.open("w") as out:
            for i in range(count):
                answer = " ".join(str(draw.randint(0, 9)) for _ in range(draw.randint(*words)))
                turns = [
                    {"role": "user", "content": f"what is {i}?"},
                    {"role": "assistant", "content": answer},
                ]
                out.write(json.dumps({"messages": turns}) + "\n")
        return file

    def run(
        self, model: Path, rows: Path, *, folder: Path | None = None, stop_at: int | None = None, **more: Any
    ) -> tuple[Outlet, Path]:
        """Train; returns what was said, and the run's folder."""
        from tunesmith.spec.training import TrainSpec
        from tunesmith_jobs.train.core import train
        from tunesmith_jobs.train.job import Identity, Paths

        self._runs += 1
        folder = folder or self.root / f"run-{self._runs}"
        folder.mkdir(exist_ok=True)
        spec = {
            "model_name_or_path": str(model), "train_file": str(rows), "logging_steps": 1, "save_strategy": "no",
            "learning_rate": 5e-3, "target_modules": "all-linear", "gradient_checkpointing": False,
            "device": "cpu" if self.is_cpu else "gpu",
        } | more  # fmt: skip
        if self.is_cpu:
            spec["precision"] = "fp32"
        outlet = Outlet(stop_at)
        paths = Paths(model, rows, None, str(folder / "artifacts"), folder / "scratch")
        outcome = train(TrainSpec.read(spec), paths, outlet, Identity("test-gpu"))
        self.peak = peak_bytes(self.is_cpu)
        clear_memory()
        if outcome.reason == "out_of_memory":
            raise Skipped(f"out of memory: {outcome.message[:200]}")
        wanted = "stopped" if stop_at else "completed"
        if outcome.outcome != wanted:
            raise AssertionError(f"the run {outcome.outcome}: {outcome.reason}: {outcome.message}")
        return outlet, folder


def clear_memory() -> None:
    """Give back what the last run held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(is_cpu: bool) -> int:
    """The most memory that was held since the last run."""
    import torch

    if not is_cpu:
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
