"""DeepSpeed ZeRO configurations: the presets, and the check of a user's own file.

Knows DeepSpeed's configuration keys; imports no DeepSpeed. What is `auto` the trainer fills from the other parameters.
"""

import json
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.training import TrainSpec

_AUTO = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)
_KNOWN = (
    *_AUTO,
    "zero_optimization",
    "bf16",
    "fp16",
    "aio",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "communication_data_type",
    "prescale_gradients",
    "gradient_predivide_factor",
    "steps_per_print",
    "wall_clock_breakdown",
)
_MAX_BYTES = 2**20
_PRESETS = {
    (1, "none"): "zero1",
    (2, "none"): "zero2",
    (2, "optimizer_cpu"): "zero2_offload",
    (3, "none"): "zero3",
    (3, "optimizer_cpu"): "zero3_optimizer_offload",
    (3, "optimizer_and_param_cpu"): "zero3_offload",
    (3, "nvme"): "zero3_nvme",
}


def uses_zero(spec: TrainSpec) -> bool:
    """Whether DeepSpeed was asked for."""
    return spec.deepspeed is not None or spec.deepspeed_stage > 0


def preset_name(spec: TrainSpec) -> str:
    """The preset that stage and offload name."""
    offload = spec.deepspeed_offload if spec.deepspeed_stage > 1 else "none"
    return _PRESETS[spec.deepspeed_stage, offload]


def presets() -> dict[str, dict[str, Any]]:
    """Every preset by its name."""
    return {name: _preset(stage, offload) for (stage, offload), name in _PRESETS.items()}


def _preset(stage: int, offload: str) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if offload == "optimizer_cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    elif offload == "optimizer_and_param_cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    elif offload == "nvme":
        zero["offload_optimizer"] = {"device": "nvme", "nvme_path": "auto", "pin_memory": True}
        zero["offload_param"] = {"device": "nvme", "nvme_path": "auto", "pin_memory": True}
    if stage == 3:
        zero |= {
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # The weights of a checkpoint are whole, whatever the stage.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    found: dict[str, Any] = {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        **dict.fromkeys(_AUTO, "auto"),
    }
    if offload != "none":
        # DeepSpeed's own CPU optimizer needs a compiler and two minutes on every node.
        found["zero_force_ds_cpu_optimizer"] = False
    return found


def zero_config(spec: TrainSpec, nvme: Path) -> dict[str, Any]:
    """The configuration that a spec asks for.

    Args:
        spec: The parameters; `uses_zero` holds.
        nvme: A folder on the node, for what is put on disk.

    Raises:
        InvalidInput: The user's own file cannot be used.
    """
    config = read_config(Path(spec.deepspeed)) if spec.deepspeed else presets()[preset_name(spec)]
    zero = config["zero_optimization"]
    for part in ("offload_optimizer", "offload_param"):
        if zero.get(part, {}).get("device") == "nvme":
            zero[part]["nvme_path"] = str(nvme)  # never a path of a client's choice
    return config


def _refusal(file: Path, message: str, hint: str) -> InvalidInput:
    return InvalidInput(f"`{file.name}`: {message}", hint=hint, field="deepspeed")


def read_config(file: Path) -> dict[str, Any]:
    """A user's own configuration.

    Raises:
        InvalidInput: It is no JSON object, or sets what is not its to set.
    """
    start = "Start from a file of `configs/deepspeed/`."
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise _refusal(file, "it is larger than 1 MiB.", start)
        config: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise _refusal(
            file, f"it cannot be read: {error.strerror}.", "Give a file in an allowed root."
        ) from error
    except ValueError as error:
        raise _refusal(file, f"it is no JSON: {error}.", start) from error
    found: dict[str, Any] = config if isinstance(config, dict) else {}
    zero = found.get("zero_optimization")
    if not isinstance(zero, dict) or zero.get("stage") not in (1, 2, 3):
        raise _refusal(file, "it has no `zero_optimization.stage` of 1, 2 or 3.", start)
    _check_keys(file, found)
    for name in _AUTO:
        found[name] = "auto"
    for name in ("bf16", "fp16"):
        found[name] = {**found.get(name, {}), "enabled": "auto"}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return found


def _check_keys(file: Path, config: dict[str, Any]) -> None:
    """What follows from the task's other parameters, or names files, is not set in a configuration."""
    for name in config:
        if name not in _KNOWN:
            meant = did_you_mean(name, _KNOWN)
            other = "Optimizer, schedule, logs and files follow from the task's other parameters."
            raise _refusal(
                file, f"`{name}` cannot be set here.", f"Did you mean `{meant}`?" if meant else other
            )
    zero = config["zero_optimization"]
    for part, home in (
        ("offload_optimizer", zero),
        ("offload_param", zero),
        ("bf16", config),
        ("fp16", config),
    ):
        if not isinstance(home.get(part, {}), dict):
            raise _refusal(file, f"`{part}` is no object.", 'Write it as `{"...": ...}`.')
    for name in _AUTO:
        if config.get(name, "auto") != "auto":
            raise _refusal(
                file, f"`{name}` is not `auto`.", "Write `auto`: the task's own parameter decides."
            )
    for name in ("bf16", "fp16"):
        if config.get(name, {}).get("enabled", "auto") != "auto":
            raise _refusal(file, f"`{name}.enabled` is not `auto`.", "Write `auto`: `precision` decides.")
