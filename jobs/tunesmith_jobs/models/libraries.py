"""The libraries' switches: set up before they are imported, and set for speed once a model is there.

Knows torch, transformers and the C library; knows nothing of how a run goes.
"""

import ctypes
import os
from typing import Any

from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.models.reading import stay_offline

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What glibc's `mallopt` calls them."""


def prepare_libraries() -> None:
    """Set what the heavy libraries read when they are imported, and import them."""
    stay_offline()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    let_waiting_threads_sleep()
    import torch
    import transformers

    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    transformers.utils.logging.disable_progress_bar()


def let_waiting_threads_sleep(after: int = 10_000) -> None:
    """Have threads that wait for each other give the processor away soon; whoever set how they wait keeps that.

    By itself libgomp lets them spin 300 000 times. Beside anything else that computes, one spins through its slice of
    time while the one it waits for has no processor. SmolLM2's training in tokens/s, two threads on two processors,
    alone and beside two busy processes: 250 and 69 by itself, 246 and 67 to 98 after 10 000, 232 and 102 after 1 000,
    212 and 139 after none. Read when torch is loaded.

    Args:
        after: How often they look before they sleep. None suits what works in bursts beside others.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(after))


def keep_freed_memory() -> None:
    """Let a step take the memory that the one before it freed.

    glibc gives large blocks back to the system, which zeroes each page of them before it is used again: on a processor
    that took a tenth of a step. What is allocated before this is called, such as the weights, is still given back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    # An older glibc takes no more than the second.
    if not mallopt(_MMAP_THRESHOLD, 2**30):
        mallopt(_MMAP_THRESHOLD, 2**25)


def speed_up(model: Any, spec: TrainSpec, data: Any, choice: Any) -> str:
    """Compute with less where the result is the same; says how the loss is computed and why."""
    from tunesmith_jobs.models.lora_linear import use_fused_lora
    from tunesmith_jobs.models.loss import use_supervised_loss, without_balance

    if choice.device == "cpu":
        keep_freed_memory()
    if choice.device == "cpu" and spec.use_lora and not uses_zero(spec) and not spec.torch_compile:
        use_fused_lora(model)
    if data.classes:
        return "of classes"
    if uses_zero(spec):
        return without_balance(model, "of all positions: DeepSpeed may hold the head in parts")
    why = without_balance(model, "the step is compiled") if spec.torch_compile else use_supervised_loss(model)
    return f"of all positions: {why}" if why else "of trained positions"
