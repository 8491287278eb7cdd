"""Useful tokens a second of our training core against TRL's `SFTTrainer`: same model, rows, LoRA, effective batch.

Run: `python tests/bench/engine.py --model FOLDER --rows FILE --trl PYTHON`, where PYTHON is that of an environment with
TRL in it (`pip install trl==1.16.0`, kept apart from ours). The sides take turns, each in a process of its own, with as
many threads. Without `--model` a random Llama of 135M parameters is made, without `--rows` instructions of a like
length. Counted are tokens that are no padding; by the wall's clock, and by the processor's, which neighbours on the
machine disturb less. `--checkpoints 10` measures instead what a checkpoint every 10 steps costs.

Our loss is held against a reference in fp32 on the same rows: 0.5 % is allowed. Gradient norms must be finite.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SKIPPED_STEPS = 1
TRL_FLAGS: dict[str, dict[str, Any]] = {
    "TRL at its defaults": {},
    "TRL at its best flags": {
        "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length", "pad_to_multiple_of": None,
        "dataloader_pin_memory": False,
    },
}  # fmt: skip

OURS = """
import json, sys, time
from pathlib import Path
from tunesmith.lifecycle import Desired
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.train.core import train
from tunesmith_jobs.train.job import Identity, Paths
spec, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
class Steps:
    desired, superseded, save_now, pinned, listed = Desired.RUN, False, 0, frozenset(), None
    early_stop = None
    def __init__(self):
        self.steps, self.facts, self.activities = [], {}, Activities()
    def emit(self, payload, time_=None):
        if payload.kind == "training_started":
            self.facts = payload.facts
        if payload.kind in ("training_started", "metrics") and (not self.steps or "loss" in payload.values):
            values = getattr(payload, "values", {})
            self.steps.append({"wall": time.perf_counter(), "cpu": time.process_time(), "loss": values.get("loss"),
                               "norm": values.get("grad_norm"), "rate": values.get("tokens_per_second"),
                               "share": values.get("useful_token_share")})
outlet = Steps()
paths = Paths(model=Path(spec["model_name_or_path"]), train=Path(spec["train_file"]), eval=None,
              artifact_uri=str(folder / "artifacts"), scratch=folder / "scratch")
outcome = train(TrainSpec.read(spec), paths, outlet, Identity("bench"))
assert outcome.outcome == "completed", outcome
print(json.dumps({"steps": outlet.steps, "facts": outlet.facts}))
"""

STEPS_OF_A_TRAINER = """
steps = []
class Steps(TrainerCallback):
    def note(self, **more):
        steps.append({"wall": time.perf_counter(), "cpu": time.process_time()} | more)
    def on_train_begin(self, args, state, control, **_):
        self.note()
    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            self.note(loss=float(logs["loss"]), norm=float(logs["grad_norm"]),
                      total=float(logs.get("num_tokens", state.num_input_tokens_seen)))
"""
"""Part of a script that trains with a `Trainer` of transformers: notes each step. TRL counts tokens by itself."""

TRL = (
    """
import json, sys, time
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
given = json.loads(sys.argv[1])
rows = []
for row in json.load(open(given["rows"])):
    question = row["instruction"] + ("\\n" + row["input"] if row.get("input") else "")
    rows.append({"prompt": [{"role": "user", "content": question}],
                 "completion": [{"role": "assistant", "content": row["output"]}]})
"""
    + STEPS_OF_A_TRAINER
    + """
config = SFTConfig(output_dir=given["folder"], max_steps=given["steps"], per_device_train_batch_size=given["batch"],
                   gradient_accumulation_steps=1, max_length=512, logging_steps=1, save_strategy="no", report_to="none",
                   learning_rate=2e-4, seed=42, use_cpu=True, disable_tqdm=True, bf16=given["bf16"], **given["flags"])
model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.bfloat16 if given["bf16"] else torch.float32)
trainer = SFTTrainer(model, args=config, train_dataset=Dataset.from_list(rows),
                     processing_class=AutoTokenizer.from_pretrained(given["model"]), callbacks=[Steps()],
                     peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear",
                                            task_type="CAUSAL_LM"))
trainer.train()
print(json.dumps({"steps": steps}))
"""
)


def write_rows(path: Path, count: int, source: Path | None) -> Path:
    """The first rows of a file of instructions, or made ones."""
    if source is not None:
        rows = json.loads(source.read_text())[:count]
    else:
        draw = random.Random(0)
        words = [
            "the",
            "model",
            "reads",
            "a",
            "row",
            "and",
            "learns",
            "to",
            "answer",
            "it",
            "in",
            "some",
            "words",
        ]
        rows = [
            {
                "instruction": " ".join(draw.choices(words, k=draw.randint(5, 30))),
                "input": "",
                "output": " ".join(draw.choices(words, k=min(450, int(draw.lognormvariate(4.6, 0.8))))),
            }
            for _ in range(count)
        ]
    path.write_text(json.dumps(rows))
    return path


def make_model(folder: Path) -> Path:
    """A random Llama of SmolLM2-135M's shape, with a small tokenizer."""
    from tiny_model import make_tokenizer_folder
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer_folder(folder)
    shape = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def run(python: str, code: str, arguments: list[str], threads: int) -> dict[str, Any]:
    """What a side prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-P", "-W", "ignore", "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ours(
    model: Path, rows: Path, folder: Path, steps: int, batch: int, threads: int, **more: Any
) -> dict[str, Any]:
    """Our core, with what a user would set for this machine."""
    spec = {
        "model_name_or_path": str(model), "train_file": str(rows), "max_steps": steps, "max_length": 512,
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": 1, "logging_steps": 1,
        "save_strategy": "no", "gradient_checkpointing": False, "r": 16, "lora_alpha": 32, "lora_dropout": 0.0,
        "target_modules": "all-linear", "learning_rate": 2e-4, "optim": "adamw_torch_fused", "device": "cpu",
    } | more  # fmt: skip
    folder.mkdir(parents=True)
    found = run(sys.executable, OURS, [json.dumps(spec), str(folder)], threads)
    total = 0.0
    for before, step in zip(found["steps"], found["steps"][1:], strict=False):
        # The rate of a window of one step, times that step's own time, is its tokens.
        total += step["rate"] * (step["wall"] - before["wall"])
        step["total"] = total
    return found


def rates(found: dict[str, Any]) -> tuple[float, float]:
    """Useful tokens by the wall's second and by the processor's, after the steps that warm up."""
    first, last = found["steps"][SKIPPED_STEPS], found["steps"][-1]
    tokens = last["total"] - first["total"]
    return tokens / (last["wall"] - first["wall"]), tokens / (last["cpu"] - first["cpu"])


def check(found: dict[str, Any]) -> None:
    """A speed counts only where gradients are finite and not zero."""
    assert all(0 < step["norm"] < math.inf for step in found["steps"][1:]), found["steps"]


def checkpoint_cost(model: Path, rows: Path, root: Path, options: argparse.Namespace) -> None:
    """Step time with checkpoints against none: by the wall's clock, and by the processor's with all threads."""
    every = options.checkpoints
    times: dict[str, list[tuple[float, float]]] = {"none": [], "saved": []}
    for turn in range(options.turns):
        for name, more in (
            ("none", {"save_strategy": "no"}),
            ("saved", {"save_strategy": "steps", "save_steps": every}),
        ):
            if options.full:
                more |= {"use_lora": False, "learning_rate": 1e-5}
            folder = root / f"{name}-{turn}"
            found = ours(model, rows, folder, options.steps, options.batch, options.threads, **more)
            first, last = found["steps"][SKIPPED_STEPS], found["steps"][-1]
            count = len(found["steps"]) - 1 - SKIPPED_STEPS
            times[name].append(tuple((last[clock] - first[clock]) / count for clock in ("wall", "cpu")))
            shutil.rmtree(folder)
    pairs = list(zip(times["none"], times["saved"], strict=True))
    for place, clock in enumerate(("wall", "processor")):
        ratios = [saved[place] / none[place] for none, saved in pairs]
        print(
            f"step time with a checkpoint every {every} steps against none, {clock}: "
            f"median {statistics.median(ratios):.3f}, best {min(ratios):.3f}"
        )
    print(f"seconds a step (wall, processor): {times}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rows", type=Path, help="a JSON array of instruction, input, output")
    parser.add_argument("--trl", help="the Python of an environment that has TRL")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument(
        "--checkpoints", type=int, metavar="STEPS", help="measure what a checkpoint every so many steps costs"
    )
    parser.add_argument("--full", action="store_true", help="with `--checkpoints`: train all weights")
    options = parser.parse_args()
    from tunesmith_jobs.models.precision import cpu_bf16_flags

    has_bf16 = bool(cpu_bf16_flags())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows = write_rows(root / "rows.json", 512, options.rows)
        model = options.model or make_model(root / "llama")
        if options.checkpoints:
            checkpoint_cost(model, rows, root, options)
            return
        sides: dict[str, list[tuple[float, float]]] = {}
        for turn in range(options.turns):
            found = ours(model, rows, root / f"ours-{turn}", options.steps, options.batch, options.threads)
            check(found)
            sides.setdefault("ours", []).append(rates(found))
            if turn == 0:
                facts = found["facts"]
                print(f"ours: {facts['precision']} ({facts['precision_why']}), loss {facts['loss']}")
                mine = [step["loss"] for step in found["steps"][1:]]
                if facts["precision"] != "fp32":
                    exact = ours(
                        model, rows, root / "reference", options.steps, options.batch, options.threads, precision="fp32"
                    )  # fmt: skip
                    theirs = [step["loss"] for step in exact["steps"][1:]]
                    apart = max(abs(a / b - 1) for a, b in zip(mine, theirs, strict=True))
                    print(f"loss against fp32: at most {apart:.2%} apart")
                    assert apart < 5e-3, (mine, theirs)
            for title, flags in TRL_FLAGS.items() if options.trl else ():
                given = {
                    "model": str(model), "rows": str(rows), "folder": str(root / f"trl-{turn}"), "steps": options.steps,
                    "batch": options.batch, "flags": flags, "bf16": has_bf16,
                }  # fmt: skip
                found = run(options.trl, TRL, [json.dumps(given)], options.threads)
                check(found)
                sides.setdefault(title, []).append(rates(found))
            for title, measured in sides.items():
                wall, cpu = measured[-1]
                print(
                    f"turn {turn + 1}: {title}: {wall:.0f} tokens/s, {cpu:.0f} tokens/processor-s", flush=True
                )
        for title in TRL_FLAGS if options.trl else ():
            ratios = [
                (one[0] / other[0], one[1] / other[1])
                for one, other in zip(sides["ours"], sides[title], strict=True)
            ]
            walls, cpus = zip(*ratios, strict=True)
            print(
                f"ours / {title}: {statistics.median(walls):.2f} (processor time {statistics.median(cpus):.2f})"
            )


if __name__ == "__main__":
    main()
