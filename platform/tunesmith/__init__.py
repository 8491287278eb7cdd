"""Tunesmith's contract and what users hold: specs, lifecycle, events, errors, the client and the CLI.

Importing this package is cheap: heavy names are resolved on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.sdk import FinishedTask, ModelTrainer, TrainingConfig, TrainingFailed, finetune
    from tunesmith.spec.training import TrainSpec

__version__ = "0.1.0"
__all__ = [
    "Client",
    "FinishedTask",
    "ModelTrainer",
    "TrainSpec",
    "TrainingConfig",
    "TrainingFailed",
    "__version__",
    "finetune",
]


def __dir__() -> list[str]:
    """What there is, also before it was used."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name == "Client":
        from tunesmith.client import Client

        return Client
    if name == "TrainSpec":
        from tunesmith.spec.training import TrainSpec

        return TrainSpec
    if name in {"FinishedTask", "ModelTrainer", "TrainingConfig", "TrainingFailed", "finetune"}:
        from tunesmith import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
