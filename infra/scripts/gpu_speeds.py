"""How fast a GPU trains, for `test_gpu.py`: tokens/s, the share of its speed that is used (MFU), peak memory.

Models are random and their rows fill their length. Knows what a token costs; knows nothing of right or wrong.
"""

import contextlib
import importlib.util
import math
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from gpu_runs import Bench, Result, Shape, Skipped, clear_memory

WARM_STEPS = 3
"""Steps at the start that are not measured."""

SHAPES = {
    "1b": Shape(2048, 8192, 16, 32, 8, 128_256, 2048, 8),
    "8b": Shape(4096, 14_336, 32, 32, 8, 128_256, 2048, 4),
}
TINY = Shape(64, 128, 2, 4, 2, 1000, 128, 2)


@contextlib.contextmanager
def random_weights(is_cpu: bool) -> Iterator[None]:
    """Models come from their configuration, on the device: 16 GB need not go over the disk."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def load(path: Path, labels: Any, options: dict[str, Any]) -> Any:
        options = dict(options)
        with torch.device("cpu" if is_cpu else "cuda"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path), **options)

    with mock.patch("tunesmith_jobs.models.build.load_base", load):
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
