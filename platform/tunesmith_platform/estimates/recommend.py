"""Which settings take less memory for the same training, and which of them to recommend. Pure; applies nothing."""

from collections.abc import Iterator
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.estimate import DiskView, SettingView
from tunesmith.spec.optimizers import chosen_optimizer
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero

_MOST_ACCUMULATION = 256


def cheaper(spec: TrainSpec, *, on_gpu: bool = False) -> Iterator[tuple[str, dict[str, Any], TrainSpec]]:
    """Settings that need less memory, the smallest sacrifice first: a name, what changes, and the whole spec.

    The effective batch stays as it is. A setting that the spec's own rules refuse is left out.

    Args:
        spec: The parameters.
        on_gpu: Whether a GPU trains, from which states and weights can be put into main memory.
    """
    smaller: dict[str, Any] = {}
    if spec.per_device_train_batch_size > 1:
        rows = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        batch = next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= _MOST_ACCUMULATION)
        smaller = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": rows // batch}
    recompute = {} if spec.gradient_checkpointing else {"gradient_checkpointing": True}
    quantised: dict[str, Any] = {}
    if not spec.load_in_4bit:
        quantised = {"load_in_4bit": True} | ({"load_in_8bit": False} if spec.load_in_8bit else {})
        quantised |= {} if spec.use_lora else {"use_lora": True}
    shared: dict[str, Any] = {}
    if spec.workers[1] > 1 and int(spec.deepspeed_stage) < 3:
        shared = {"deepspeed_stage": 2 if int(spec.deepspeed_stage) < 2 else 3}
    optimizer: dict[str, Any] = {}
    if chosen_optimizer(spec) in ("adamw_torch", "adamw_torch_fused") and not uses_zero(spec):
        optimizer = {"optim": "paged_adamw_8bit" if on_gpu else "adamw_8bit"}
    offloaded: dict[str, Any] = {}
    if on_gpu and not (spec.load_in_4bit or spec.load_in_8bit) and spec.deepspeed is None:
        offloaded = {"deepspeed_stage": 3, "deepspeed_offload": "optimizer_and_param_cpu"}
    everything = smaller | recompute
    offered = [
        ("smaller micro-batch", smaller),
        ("gradient checkpointing", recompute),
        ("smaller micro-batch and gradient checkpointing", everything if smaller and recompute else {}),
        ("paged 8-bit optimizer" if on_gpu else "8-bit optimizer", optimizer),
        ("8-bit optimizer with all of these", everything | optimizer if optimizer and everything else {}),
        ("LoRA", everything | {"use_lora": True} if not spec.use_lora else {}),
        (f"ZeRO stage {shared.get('deepspeed_stage')}", shared),
        ("ZeRO stage 3", everything | {"deepspeed_stage": 3} if shared else {}),
        ("QLoRA", quantised),
        ("QLoRA with all of these", everything | quantised if quantised and everything else {}),
        ("ZeRO stage 3 with offload", everything | offloaded if offloaded else {}),
    ]
    given = spec.model_dump(mode="json", exclude_unset=True)
    seen: list[dict[str, Any]] = []
    for name, change in offered:
        if not change or change in seen:
            continue
        seen.append(change)
        try:
            yield name, change, TrainSpec.read(given | change)
        except TunesmithError:
            continue


def sentence(peak: int, there_is: int | None, chosen: SettingView | None, disk: DiskView) -> str:
    """What to do when memory or disk do not suffice; empty when they do."""
    words = []
    if there_is is not None and peak > there_is:
        words.append(f"It takes about {size_of(peak)} of memory a worker, and there are {size_of(there_is)}.")
        if chosen is not None:
            change = _changes(chosen.change)
            words.append(f"With {change} it takes about {size_of(chosen.memory.peak)}.")
        else:
            words.append("No cheaper setting fits either: take a smaller model or a shorter `max_length`.")
    if disk.free_bytes is not None and disk.total_bytes > disk.free_bytes:
        words.append(
            f"Its checkpoints take {size_of(disk.total_bytes)} of disk, and {size_of(disk.free_bytes)} are free: lower "
            "`save_total_limit`, or save less often."
        )
    return " ".join(words)


def option(name: str, change: dict[str, Any], peak: int) -> str:
    """A setting in words."""
    return f"{name} ({_changes(change)}): {size_of(peak)}"


def _changes(change: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={_value(value)}`" for name, value in change.items())


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def size_of(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
