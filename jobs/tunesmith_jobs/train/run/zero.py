"""DeepSpeed ZeRO in the job: handed to the Trainer, made to run on CPUs too, and proof that it is what runs.

Knows the Trainer's and accelerate's ways with DeepSpeed; what a configuration may say is in `tunesmith.zero`.
"""

import os
import socket
from pathlib import Path
from typing import Any

from tunesmith.availability import is_installed
from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero, zero_config
from tunesmith_jobs.models.precision import Choice


def arguments(spec: TrainSpec, choice: Choice, scratch: Path) -> dict[str, Any]:
    """What the Trainer is told of DeepSpeed; nothing when it was not asked for.

    Raises:
        InvalidInput: DeepSpeed is not installed, or the user's own configuration cannot be used.
    """
    if not uses_zero(spec):
        return {}
    if not is_installed("deepspeed"):
        raise InvalidInput(
            "DeepSpeed is not installed.",
            hint='Install it with `DS_BUILD_OPS=0 pip install --no-build-isolation "tunesmith[deepspeed]"` on every '
            "node, or set `deepspeed_stage=0`.",
            field="deepspeed_stage",
        )
    config = zero_config(spec, scratch / "nvme")
    # It reads its checkpoints with torch: as tensors and plain values only, never as a pickle that runs code.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    _trust_its_own_classes()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        _stand_alone()
    if choice.device == "cuda":
        return {"deepspeed": config}
    os.environ["DS_ACCELERATOR"] = "cpu"
    config["zero_optimization"]["overlap_comm"] = False  # there are no streams to overlap on
    _let_accelerate_use_cpus()
    # `use_cpu=True` would drop DeepSpeed without a word.
    return {"deepspeed": config, "use_cpu": False, "ddp_backend": "gloo"}


def _stand_alone() -> None:
    """DeepSpeed wants a group of workers, though it be of one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in (
        ("RANK", "0"),
        ("LOCAL_RANK", "0"),
        ("WORLD_SIZE", "1"),
        ("LOCAL_WORLD_SIZE", "1"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", str(port)),
    ):
        os.environ.setdefault(name, value)


def _let_accelerate_use_cpus() -> None:
    """accelerate joins DeepSpeed with GPUs only: tell it that several CPU processes are a group too."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    original = PartialState._prepare_backend
    if getattr(original, "is_ours", False):
        return

    def prepare(
        self: Any, cpu: bool = False, sagemaker_dp: bool = False, backend: str | None = None
    ) -> tuple[Any, Any]:
        if os.environ.get("DS_ACCELERATOR") == "cpu" and not cpu:
            return "gloo", DistributedType.MULTI_CPU
        return original(self, cpu, sagemaker_dp, backend)  # type: ignore[no-any-return]

    prepare.is_ours = True  # type: ignore[attr-defined]
    PartialState._prepare_backend = prepare


def _trust_its_own_classes() -> None:
    """The few classes of DeepSpeed itself that its checkpoints hold beside tensors."""
    import torch
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    torch.serialization.add_safe_globals([ZeroStageEnum, LossScaler, DynamicLossScaler, fragment_address])


def stage_of(arguments: Any) -> int:
    """The stage that the Trainer's arguments ask for; 0 without DeepSpeed."""
    config = getattr(arguments, "hf_deepspeed_config", None)
    return int(config.config["zero_optimization"]["stage"]) if config is not None else 0


def engine_of(model: Any, arguments: Any) -> str:
    """What trains, for the task's page: `alone`, `ddp` or `zero1..3`. Fails when it is not what was asked for."""
    from torch.nn.parallel import DistributedDataParallel

    inner = getattr(model, "_orig_mod", model)
    stage = stage_of(arguments)
    if stage:
        assert type(inner).__name__ == "DeepSpeedEngine", f"DeepSpeed was asked for, {type(inner)} runs"
        assert inner.zero_optimization_stage() == stage, f"stage {inner.zero_optimization_stage()} runs"
        return f"zero{stage}"
    if arguments.world_size > 1:
        assert isinstance(inner, DistributedDataParallel), f"several workers, but {type(inner)} runs"
        return "ddp"
    return "alone"
