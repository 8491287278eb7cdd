"""Measured preflight against a real run, and the formula against both, over six configurations on the CPU.

Run: `python tests/bench/preflight.py [which ...]`. Each run is a process of its own; a real run is one epoch of
training. `SMOLLM2=<folder>` adds the real model. Wanted: peak memory within 10 %, time within 20 %, the formula within
25 % of the measured memory.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WORDS = ["the", "quick", "fox", "jumps", "over", "a", "lazy", "dog", "while", "training", "one", "model"]
BASE = {"gradient_accumulation_steps": 2, "device": "cpu", "lora_dropout": 0.0, "num_train_epochs": 1}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "small LoRA, batch 1 x 256": {"model": "small", "per_device_train_batch_size": 1, "max_length": 256},
    "small LoRA, batch 4 x 512, kept": {
        "model": "small",
        "per_device_train_batch_size": 4,
        "max_length": 512,
        "gradient_checkpointing": False,
    },
    "small full, batch 4 x 256, kept": {
        "model": "small",
        "use_lora": False,
        "per_device_train_batch_size": 4,
        "max_length": 256,
        "gradient_checkpointing": False,
    },
    "middle LoRA, batch 4 x 256": {"model": "middle", "per_device_train_batch_size": 4, "max_length": 256},
    "middle LoRA, batch 2 x 512, kept": {
        "model": "middle",
        "per_device_train_batch_size": 2,
        "max_length": 512,
        "gradient_checkpointing": False,
    },
    "middle full, batch 2 x 256": {
        "model": "middle",
        "use_lora": False,
        "per_device_train_batch_size": 2,
        "max_length": 256,
    },
}
SMOLLM2 = {
    "SmolLM2 LoRA, batch 2 x 256": {"model": "smollm2", "per_device_train_batch_size": 2, "max_length": 256},
}
SIZES = {"small": (256, 4, 704), "middle": (512, 8, 1408)}


def make_model(folder: Path, hidden: int, layers: int, intermediate: int) -> Path:
    """A random Llama with 32 000 words."""
    from tiny_model import make_tokenizer_folder
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer_folder(folder)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_rows(file: Path, rows: int = 64) -> Path:
    """Conversations of 60 to 500 tokens."""
    draw = random.Random(1)
    with file.open("w") as stream:
        for _ in range(rows):
            half = draw.randint(15, 110)
            turns = [
                {"role": role, "content": " ".join(draw.choice(WORDS) for _ in range(half))}
                for role in ("user", "assistant")
            ]
            stream.write(json.dumps({"messages": turns}) + "\n")
    return file


def real(spec: dict[str, Any], folder: Path) -> dict[str, float]:
    """One epoch of the very training, in this process."""
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.probe import Clock, peak_bytes
    from tunesmith_jobs.train.core import train
    from tunesmith_jobs.train.job import Identity, Paths

    clock = Clock()
    paths = Paths(
        model=Path(spec["model_name_or_path"]),
        train=Path(spec["train_file"]),
        eval=None,
        artifact_uri=str(folder / "artifacts"),
        scratch=folder / "scratch",
    )
    outcome = train(TrainSpec.read(spec | {"logging_steps": 1}), paths, clock, Identity("bench"))
    assert clock.steps, outcome
    steps = clock.steps[1:]
    return {
        "memory": peak_bytes(),
        "seconds": sum(steps) / len(steps),
        "checkpoint": clock.checkpoint_bytes,
    }


def probe(spec: dict[str, Any], folder: Path) -> dict[str, float]:
    """The measured preflight, in this process."""
    from tunesmith.probe import ProbeDocument
    from tunesmith_jobs.probe import measure

    document = ProbeDocument(
        id="measure-bench",
        spec=spec,
        model_path=spec["model_name_or_path"],
        train_path=spec["train_file"],
        work_dir=str(folder / "work"),
        limit_seconds=600,
    )
    found = measure(document)
    assert not found.error, found.error
    return {
        "memory": found.peak_bytes,
        "seconds": found.seconds_per_step,
        "checkpoint": found.checkpoint_bytes,
    }


def formula(spec: dict[str, Any], folder: Path) -> dict[str, float]:
    """The estimate by formula."""
    from tunesmith.home import Home
    from tunesmith.spec.training import TrainSpec
    from tunesmith_platform.db.engine import Database
    from tunesmith_platform.db.schema import migrate
    from tunesmith_platform.estimates.service import EstimateService
    from tunesmith_platform.scope import INSTALLATION
    from tunesmith_platform.settings import Settings
    from tunesmith_platform.testing.fakes import FakeJobs

    home = Home(folder / "home")
    home.create()
    settings = Settings(home=home.root, allowed_roots=[Path("/")])
    database = Database(settings.database_url)
    migrate(database)
    view = EstimateService(database, settings, FakeJobs()).estimate(INSTALLATION, TrainSpec.read(spec))
    return {
        "memory": view.memory.peak,
        "seconds": view.time.seconds_per_step,
        "checkpoint": view.disk.checkpoint_bytes,
    }


def in_process(what: str, spec: dict[str, Any]) -> dict[str, float]:
    """Run one of the three in a fresh process."""
    command = [sys.executable, __file__, f"--{what}", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main(wanted: list[str]) -> int:
    """Print the table; 1 when something is out of bounds."""
    configurations = dict(CONFIGURATIONS)
    models: dict[str, str] = {}
    worst = {"memory": 0.0, "seconds": 0.0, "formula": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.environ.get("SMOLLM2"):
            models["smollm2"] = os.environ["SMOLLM2"]
            configurations |= SMOLLM2
        rows = write_rows(folder / "rows.jsonl")
        heads = (
            f"{'real':>8} {'measured':>16} {'formula':>16} | {'s/step':>7} {'measured':>15} {'formula':>15}"
        )
        print(f"{'configuration':34} {heads}")
        for title, given in configurations.items():
            if wanted and not any(word in title for word in wanted):
                continue
            spec = BASE | given
            kind = str(spec.pop("model"))
            if kind not in models:
                models[kind] = str(make_model(folder / kind, *SIZES[kind]))
            spec |= {"model_name_or_path": models[kind], "train_file": str(rows)}
            truth, taken, said = (in_process(what, spec) for what in ("real", "probe", "formula"))
            off = {
                "memory": taken["memory"] / truth["memory"] - 1,
                "seconds": taken["seconds"] / truth["seconds"] - 1,
                "formula": said["memory"] / taken["memory"] - 1,
            }
            worst = {key: max(worst[key], abs(value)) for key, value in off.items()}
            print(
                f"{title:34} {truth['memory'] / 1e6:5.0f} MB {taken['memory'] / 1e6:5.0f} MB {off['memory']:+7.1%}"
                f" {said['memory'] / 1e6:5.0f} MB {off['formula']:+7.1%} | {truth['seconds']:7.2f}"
                f" {taken['seconds']:7.2f} {off['seconds']:+7.1%} {said['seconds']:7.2f}"
                f" {said['seconds'] / truth['seconds'] - 1:+7.1%}"
                f" | checkpoint {truth['checkpoint'] / 1e6:.1f} MB, said {said['checkpoint'] / 1e6:.1f} MB",
                flush=True,
            )
    limits = {"memory": 0.10, "seconds": 0.20, "formula": 0.25}
    print(
        "worst:", ", ".join(f"{key} {worst[key]:.1%} (wanted {limit:.0%})" for key, limit in limits.items())
    )
    return 0 if all(worst[key] <= limit for key, limit in limits.items()) else 1


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--"):
        run = {"--real": real, "--probe": probe, "--formula": formula}[sys.argv[1]]
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(run(json.loads(sys.argv[2]), Path(scratch))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
