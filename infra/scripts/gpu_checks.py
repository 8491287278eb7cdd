"""What must hold on a GPU: its precision, QLoRA, packing against padding, checkpoint and resume, what NVML says.

Each check runs the core and returns a sentence for the report of `test_gpu.py`.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

from gpu_runs import Bench, Skipped


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
    from tunesmith_jobs.train.telemetry.system import Machine

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


CHECKS: dict[str, Callable[[Bench], str]] = {
    "precision": check_precision,
    "against fp32": check_reduced_precision,
    "qlora": check_qlora,
    "packing": check_packing,
    "resume": check_resume,
    "machine": check_machine,
}
