"""Useful tokens a second of our training core against TRL and LLaMA-Factory: same model, rows, LoRA and batch.

Run: `python tests/bench/peers.py --cache FOLDER --rows FILE`, where FOLDER keeps the peers' environments (made once,
some minutes and 3 GB) and the model, SmolLM2-135M, as `tunesmith models pull` brings it. The rows are the first 512
of FILE: instructions as data sets of that kind are published (`instruction`, `input`, `output`).

The sides take turns, each in a process of its own with as many threads. LoRA r16 on all linear layers, batches of 8
rows, at most 512 tokens. Counted are tokens that are no padding. Ours is the plain `train` function with every step
reported.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engine import STEPS_OF_A_TRAINER, TRL, TRL_FLAGS, check, ours, rates, run, write_rows

MODEL = "SmolLM2-135M-Instruct"
TORCH = "torch==2.13.0"
TRL_NEEDS = ["trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0", "datasets==5.2.0"]
FACTORY = "llamafactory==0.9.5"
FACTORY_NEEDS = [
    "accelerate<=1.11.0", "av<=16.0.0", "datasets<=4.0.0", "einops", "fastapi", "fire", "gradio>=4.38.0,<=5.50.0",
    "hf-transfer", "matplotlib", "modelscope", "numpy", "omegaconf", "packaging", "pandas", "peft>=0.18.0,<=0.18.1",
    "protobuf", "pydantic", "pyyaml", "safetensors", "scipy", "sentencepiece", "sse-starlette", "tiktoken",
    "torchdata>=0.10.0,<=0.11.0", "transformers>=4.55.0,<=5.6.0", "trl>=0.18.0,<=0.24.0", "tyro<0.9.0", "uvicorn",
]  # fmt: skip
"""What LLaMA-Factory names, less torchaudio and torchvision: their wheels want CUDA, and text needs neither."""

IN_FP32 = "LLaMA-Factory the same, base in fp32"
"""It takes a base as it lies there; a processor without bf16 computes several times as long in it."""
FACTORY_FLAGS: dict[str, dict[str, Any]] = {
    "LLaMA-Factory at its defaults": {},
    "LLaMA-Factory without gradient checkpointing": {"disable_gradient_checkpointing": True},
    IN_FP32: {"disable_gradient_checkpointing": True},
}

LLAMA_FACTORY = (
    """
import importlib.machinery, json, sys, time, types
given = json.loads(sys.argv[1])
import peft, trl
from transformers import TrainerCallback
try:
    import torchaudio
except ImportError:  # imported at the top, used for sound alone
    torchaudio = types.ModuleType("torchaudio")
    torchaudio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = torchaudio
"""
    + STEPS_OF_A_TRAINER
    + """
from llamafactory.train.tuner import run_exp
run_exp(args={
    "stage": "sft", "do_train": True, "model_name_or_path": given["model"], "template": "smollm2",
    "finetuning_type": "lora", "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target": "all",
    "dataset": "rows", "dataset_dir": given["data"], "cutoff_len": 512, "overwrite_cache": True,
    "preprocessing_num_workers": 1, "dataloader_num_workers": 0, "output_dir": given["folder"],
    "per_device_train_batch_size": given["batch"], "gradient_accumulation_steps": 1, "learning_rate": 2e-4,
    "max_steps": given["steps"], "logging_steps": 1, "save_strategy": "no", "report_to": "none", "seed": 42,
    "use_cpu": True, "bf16": given["bf16"], "include_num_input_tokens_seen": "non_padding", "disable_tqdm": True,
    **given["flags"],
}, callbacks=[Steps()])
print(json.dumps({"steps": steps}))
"""
)


def python_of(folder: Path) -> str:
    """An environment's Python."""
    return str(folder / "bin" / "python")


def make_environment(folder: Path, *installs: list[str]) -> str:
    """An environment with what the calls to pip bring; the one that is there, if it was finished."""
    done = folder / "finished"
    if not done.exists():
        print(f"making {folder}: some minutes", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for install in installs:
            subprocess.run([python_of(folder), "-m", "pip", "install", "-q", *install], check=True)
        done.touch()
    return python_of(folder)


def make_peers(cache: Path) -> dict[str, str]:
    """Each peer's Python."""
    return {
        "trl": make_environment(cache / "trl", [TORCH, *TRL_NEEDS]),
        "llamafactory": make_environment(
            cache / "llamafactory", [TORCH, *FACTORY_NEEDS], ["--no-deps", FACTORY]
        ),
    }


def pull_model(cache: Path) -> Path:
    """The model's folder."""
    from tunesmith_jobs.models.pull import pull

    return pull(MODEL, cache / "models", print)


def in_fp32(model: Path, copy: Path) -> Path:
    """A copy of the model whose weights are fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not copy.exists():
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).save_pretrained(copy)
        AutoTokenizer.from_pretrained(model).save_pretrained(copy)
    return copy


def trl_side(python: str, given: dict[str, Any], title: str, threads: int) -> dict[str, Any]:
    """TRL with the flags of a title."""
    return run(python, TRL, [json.dumps(given | {"flags": TRL_FLAGS[title]})], threads)


def factory_side(python: str, given: dict[str, Any], root: Path, title: str, threads: int) -> dict[str, Any]:
    """LLaMA-Factory, as its command line runs it, with the flags of a title."""
    data = root / "factory-data"
    data.mkdir(exist_ok=True)
    shutil.copyfile(given["rows"], data / "rows.json")
    (data / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    more = {"data": str(data), "flags": FACTORY_FLAGS[title]}
    if title == IN_FP32:
        more["model"] = str(in_fp32(Path(given["model"]), root / "fp32"))
    return run(python, LLAMA_FACTORY, [json.dumps(given | more)], threads)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="keeps the environments and the model")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument(
        "--side", action="append", choices=[*FACTORY_FLAGS, *TRL_FLAGS], help="only these peers"
    )
    options = parser.parse_args()
    if not options.rows.is_file():
        print(f"`{options.rows}` is not here: nothing is measured.")
        return
    from tunesmith_jobs.models.precision import cpu_bf16_flags

    cache = options.cache.resolve()
    peers, model = make_peers(cache), pull_model(cache)
    measured: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows = write_rows(root / "rows.json", 512, options.rows)
        for turn in range(options.turns):
            given = {
                "model": str(model), "rows": str(rows), "folder": str(root / "peer"), "steps": options.steps,
                "batch": options.batch, "bf16": bool(cpu_bf16_flags()),
            }  # fmt: skip
            sides = {
                "ours": lambda turn=turn: ours(
                    model, rows, root / f"ours-{turn}", options.steps, options.batch, options.threads
                )
            }
            for title in FACTORY_FLAGS:
                sides[title] = lambda given=given, title=title: factory_side(
                    peers["llamafactory"], given, root, title, options.threads
                )
            for title in TRL_FLAGS:
                sides[title] = lambda given=given, title=title: trl_side(
                    peers["trl"], given, title, options.threads
                )
            for title, side in sides.items():
                if options.side and title not in ("ours", *options.side):
                    continue
                shutil.rmtree(root / "peer", ignore_errors=True)
                found = side()
                check(found)
                measured.setdefault(title, []).append(rates(found))
                wall, cpu = measured[title][-1]
                print(f"turn {turn + 1}: {title}: {wall:.0f} tokens/s, {cpu:.0f} a processor-s", flush=True)
    mine = measured.pop("ours")
    for title, others in measured.items():
        pairs = zip(mine, others, strict=True)
        walls, cpus = zip(*((a[0] / b[0], a[1] / b[1]) for a, b in pairs), strict=True)
        print(f"ours / {title}: {statistics.median(walls):.2f} (processor {statistics.median(cpus):.2f})")


if __name__ == "__main__":
    main()
