"""Tries the training core on a bare GPU machine, and measures it. No Ray, no control plane, nothing installed of ours.

`make test-gpu` (or `python infra/scripts/test_gpu.py`) needs torch, transformers, peft and pydantic; QLoRA needs
bitsandbytes. It first checks what must hold on a GPU (bf16, QLoRA, packing against padding, checkpoint and resume),
then trains random Llamas of 1B and 8B and prints tokens/s, the share of the GPU's speed that is used (MFU), and peak
memory. `--cpu-smoke` runs all of it with a tiny shape on the CPU, so that the script itself is tested where no GPU is;
its figures mean nothing. Exits 1 when a check fails, 2 where there is no GPU.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
for folder in ("platform", "jobs", "tests"):
    sys.path.insert(0, str(ROOT / folder))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

NEEDED = ("torch", "transformers", "peft", "accelerate", "pydantic", "jinja2", "yaml", "httpx", "numpy")
WARM_STEPS = 3
"""Steps at the start that are not measured."""


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


SHAPES = {
    "1b": Shape(2048, 8192, 16, 32, 8, 128_256, 2048, 8),
    "8b": Shape(4096, 14_336, 32, 32, 8, 128_256, 2048, 4),
}
TINY = Shape(64, 128, 2, 4, 2, 1000, 128, 2)


class Result(NamedTuple):
    """One line of the report."""

    name: str
    state: str
    """`ok`, `failed`, `skipped` or `measured`."""
    words: str
    figures: dict[str, float]


class Outlet:
    """Keeps what a run says, with the time; may ask for a stop."""

    def __init__(self, stop_at: int | None = None) -> None:
        from tunesmith.lifecycle import Desired

        self.desired, self.superseded, self.save_now = Desired.RUN, False, 0
        self.pinned: frozenset[int] | None = frozenset()
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
        from tunesmith_jobs.train.core import Identity, Paths, train

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


# --- checks


def check_precision(bench: Bench) -> str:
    """`auto` takes bf16 on a GPU that has it, and the loss falls."""
    outlet, _ = bench.run(bench.small, bench.rows("some", 32, (4, 40)), max_steps=12)
    losses = outlet.losses
    expected = "fp32" if bench.is_cpu else "bf16"
    assert outlet.facts["precision"] == expected, outlet.facts
    assert losses[12] < losses[1] - 0.2, losses
    assert all(0 < values["grad_norm"] < math.inf for values in outlet.values.values())
    kind = outlet.facts["attention"]
    return f"{expected}, {kind}: loss {losses[1]:.3f} -> {losses[12]:.3f}; {outlet.facts['precision_why']}"


def check_reduced_precision(bench: Bench) -> str:
    """The first loss in the machine's precision is within 0.5 % of fp32's."""
    rows = bench.rows("reference", 16, (4, 40))
    options: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": 16}
    here = bench.run(bench.small, rows, **options)[0].losses[1]
    reference = bench.run(bench.small, rows, precision="fp32", **options)[0].losses[1]
    difference = abs(here / reference - 1)
    assert difference < 5e-3, (here, reference)
    return f"relative difference to fp32 {difference:.1e}"


def check_machine(bench: Bench) -> str:
    """NVML tells of the GPU what is shown of it: use, memory, temperature, power."""
    from tunesmith_jobs.train.system import Machine

    values = Machine(0).sample().values
    assert values["process_memory_megabytes"] > 50, values
    if bench.is_cpu:
        return f"{len(values)} numbers"
    if importlib.util.find_spec("pynvml") is None:
        raise Skipped("nvidia-ml-py is not installed")
    found = {name: value for name, value in values.items() if name.startswith("gpu_0_")}
    assert 0 <= found["gpu_0_utilization_percentage"] <= 100, found
    assert 0 < found["gpu_0_memory_usage_percentage"] <= 100, found
    assert 10 < found["gpu_0_temperature_celsius"] < 110, found
    assert found["gpu_0_power_usage_watts"] > 5, found
    return ", ".join(f"{name.removeprefix('gpu_0_')} {value:g}" for name, value in found.items())


def check_qlora(bench: Bench) -> str:
    """A base in 4 bits trains, and begins where the base in full begins."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not installed")
    rows = bench.rows("some", 32, (4, 40))
    full = bench.run(bench.small, rows, max_steps=1)[0].losses[1]
    outlet, _ = bench.run(
        bench.small, rows, max_steps=12, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )  # fmt: skip
    losses = outlet.losses
    assert abs(losses[1] / full - 1) < 0.05, (losses[1], full)
    assert losses[12] < losses[1] - 0.2, losses
    return f"{outlet.facts['quantization']}: loss {losses[1]:.3f} (in full {full:.3f}) -> {losses[12]:.3f}"


def check_packing(bench: Bench) -> str:
    """One step over the same rows gives the same loss and gradient, packed or padded."""
    rows = bench.rows("pack", 16, (4, 60))
    options: dict[str, Any] = {
        "max_steps": 1, "max_length": 256, "per_device_train_batch_size": 16,
    }  # fmt: skip
    found = {
        packing: bench.run(bench.small, rows, packing=packing, **options)[0].values[1]
        for packing in (False, True)
    }
    padded, packed = found[False], found[True]
    assert packed["useful_token_share"] > padded["useful_token_share"], found
    differences = {name: abs(packed[name] / padded[name] - 1) for name in ("loss", "grad_norm")}
    limit = 1e-4 if bench.is_cpu else 3e-3  # bf16 holds three digits
    assert differences["loss"] < limit, found
    assert differences["grad_norm"] < 10 * limit, found
    return (
        f"relative differences: loss {differences['loss']:.1e}, gradient norm {differences['grad_norm']:.1e}; "
        f"useful tokens {padded['useful_token_share']:.0%} -> {packed['useful_token_share']:.0%}"
    )


def check_resume(bench: Bench) -> str:
    """A run that is stopped and continued gives the weights of one that was not."""
    from safetensors.torch import load_file

    rows = bench.rows("some", 32, (4, 40))
    options: dict[str, Any] = {
        "max_steps": 12, "lora_dropout": 0.1, "save_strategy": "steps", "save_steps": 4,
        "per_device_train_batch_size": 4,
    }  # fmt: skip
    whole, one = bench.run(bench.small, rows, **options)
    first, other = bench.run(bench.small, rows, stop_at=6, **options)
    second, _ = bench.run(bench.small, rows, folder=other, **options)
    losses = first.losses | second.losses
    worst = max(abs(losses[step] / loss - 1) for step, loss in whole.losses.items())
    weights = [
        load_file(folder / "artifacts" / "model" / "adapter_model.safetensors") for folder in (one, other)
    ]
    apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    # Some GPU kernels add in an order of their own: there the same run twice differs too.
    assert worst <= (0.0 if bench.is_cpu else 1e-3), (whole.losses, losses)
    assert apart <= (0.0 if bench.is_cpu else 1e-2), apart
    return f"largest relative difference of a loss {worst:.1e}, largest difference of a weight {apart:.1e}"


class Skipped(Exception):
    """A check that cannot be made here."""


CHECKS: dict[str, Callable[[Bench], str]] = {
    "precision": check_precision,
    "against fp32": check_reduced_precision,
    "qlora": check_qlora,
    "packing": check_packing,
    "resume": check_resume,
    "machine": check_machine,
}


# --- speeds


@contextlib.contextmanager
def random_weights(is_cpu: bool) -> Iterator[None]:
    """Models come from their configuration, on the device: 16 GB need not go over the disk."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def load(path: Path, labels: Any, options: dict[str, Any]) -> Any:
        options = dict(options)
        with torch.device("cpu" if is_cpu else "cuda"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path), **options)

    with mock.patch("tunesmith_jobs.train.model._load_base", load):
        yield


def write_weights(folder: Path, is_cpu: bool) -> None:
    """Put random weights in bf16 beside a configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("cpu" if is_cpu else "cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    clear_memory()


def token_operations(shape: Shape) -> float:
    """Floating-point operations that one token of a LoRA run asks for; what is computed twice is counted once."""
    attention = (
        6 * shape.layers * shape.hidden * shape.length
    )  # causal: half of the matrix, forward and backward
    return 4 * passed_parameters(shape) + attention  # a frozen matrix has no gradient of its own: 4, not 6


def passed_parameters(shape: Shape) -> int:
    """Parameters of the matrices that each token passes: all layers and the head, not the table of words."""
    head = shape.hidden // shape.heads
    attention = shape.hidden * head * (2 * shape.heads + 2 * shape.kv_heads)
    return shape.layers * (attention + 3 * shape.hidden * shape.inner) + shape.hidden * shape.words


def matrix_speed(is_cpu: bool) -> float:
    """Operations a second of one large matrix product in the precision of training: the ceiling of this machine."""
    import torch

    size, kind, device = (512, torch.float32, "cpu") if is_cpu else (8192, torch.bfloat16, "cuda")
    one = torch.randn(size, size, dtype=kind, device=device)
    rates = []
    for _ in range(8):
        began = time.perf_counter()
        for _ in range(4):
            one @ one
        if not is_cpu:
            torch.cuda.synchronize()
        rates.append(4 * 2 * size**3 / (time.perf_counter() - began))
    return max(rates)


def peak_bytes(is_cpu: bool) -> int:
    """The most memory that was held since the last run."""
    import torch

    if not is_cpu:
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(bench: Bench, name: str, shape: Shape, steps: int, ceiling: float, **more: Any) -> Result:
    """Train a random model on rows that fill their length, and say how fast it was."""
    if more.get("load_in_4bit") and importlib.util.find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not installed")
    words = shape.length // 2  # a digit and a space are two tokens
    rows = bench.rows(f"{name}-rows", shape.batch * (steps + WARM_STEPS), (words - 8, words), seed=7)
    model = bench.make_config(f"{name}-config", shape)
    options = {"gradient_checkpointing": False, "learning_rate": 1e-4} | more
    if is_quantized := bool(more.get("load_in_4bit")):
        write_weights(model, bench.is_cpu)  # quantised weights are read from a file
    with contextlib.nullcontext() if is_quantized else random_weights(bench.is_cpu):
        outlet, _ = bench.run(
            model, rows, max_steps=steps + WARM_STEPS, max_length=shape.length,
            per_device_train_batch_size=shape.batch, gradient_accumulation_steps=1, r=16, **options,
        )  # fmt: skip
    if is_quantized:
        shutil.rmtree(model)
    last = max(outlet.times)
    seconds = statistics.median(
        outlet.times[step] - outlet.times[step - 1] for step in range(WARM_STEPS + 1, last + 1)
    )
    # The window's own rate leaves the reporting out; the median of the steps' times is what a user waits.
    tokens = statistics.median(
        outlet.values[step]["tokens_per_second"] * (outlet.times[step] - outlet.times[step - 1])
        for step in range(WARM_STEPS + 1, last + 1)
    )
    rate = tokens / seconds
    assert all(math.isfinite(values["loss"]) for values in outlet.values.values())
    used = rate * token_operations(shape)
    figures = {
        "tokens_per_second": rate,
        "seconds_per_step": seconds,
        "operations_per_second": used,
        "mfu_of_measured_ceiling": used / ceiling,
        "peak_memory_bytes": float(bench.peak),
        "useful_token_share": outlet.values[last]["useful_token_share"],
    }
    text = (
        f"{rate:,.0f} tokens/s, {used / 1e12:.3g} TFLOP/s, MFU {used / ceiling:.1%} of the measured ceiling, "
        f"peak {bench.peak / 2**30:.1f} GiB, {seconds * 1000:.0f} ms a step of {shape.batch}x{shape.length}, "
        f"loss {outlet.facts.get('loss')}"
    )
    return Result(name, "measured", text, figures)


VARIANTS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA, recomputed": {"gradient_checkpointing": True},
    "LoRA, packed": {"packing": True},
    "QLoRA": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
}


# --- the report


def attempt(name: str, work: Callable[[], Result]) -> Result:
    """Do one thing; a failure is a line of the report, and the rest goes on."""
    try:
        result = work()
    except Skipped as why:
        result = Result(name, "skipped", str(why), {})
    except Exception as error:
        traceback.print_exc()
        result = Result(name, "failed", f"{type(error).__name__}: {error}"[:600], {})
    clear_memory()
    print(f"{result.state:>8}  {result.name}: {result.words}", flush=True)
    return result


def all_results(bench: Bench, shapes: dict[str, Shape], steps: int) -> Iterator[Result]:
    """Every check, then every speed."""
    for name, check in CHECKS.items():
        yield attempt(name, lambda name=name, check=check: Result(name, "ok", check(bench), {}))
    ceiling = matrix_speed(bench.is_cpu)
    yield attempt(
        "ceiling",
        lambda: Result(
            "ceiling", "measured", f"matrix products {ceiling / 1e12:.3g} TFLOP/s", {"operations_per_second": ceiling}
        ),
    )  # fmt: skip
    for size, shape in shapes.items():
        for variant, more in VARIANTS.items():
            title = f"{size} {variant}"
            yield attempt(
                title,
                lambda title=title, shape=shape, more=more: measure(
                    bench, title, shape, steps, ceiling, **more
                ),
            )


def main() -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cpu-smoke", action="store_true", help="a tiny shape on the CPU, to test this script"
    )
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=12, help="steps that are measured")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--packages", type=Path, help="a folder of more packages (`pip install --target`)")
    options = parser.parse_args()
    if options.packages:
        sys.path.append(str(options.packages.resolve()))
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"Not installed here: {', '.join(missing)}. Install them, or give `--packages FOLDER`.", file=sys.stderr
        )  # fmt: skip
        return 2
    import torch

    is_cpu = options.cpu_smoke
    if not is_cpu and not torch.cuda.is_available():
        print("There is no GPU here. `--cpu-smoke` tries the script on the CPU.", file=sys.stderr)
        return 2
    if is_cpu:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        device = "CPU, a smoke test: the figures mean nothing"
    else:
        device = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(device)
    shapes = {"tiny": TINY} if is_cpu else {name: SHAPES[name] for name in options.shapes}
    with tempfile.TemporaryDirectory() as root:
        results = list(all_results(Bench(Path(root), is_cpu), shapes, 3 if is_cpu else options.steps))
    if options.out:
        document = {"device": device, "results": [result._asdict() for result in results]}
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if any(result.state == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
