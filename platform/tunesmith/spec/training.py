"""Every parameter of a training task, declared once in the modules of `groups`.

From here derive the API's validation, the CLI's flags, the form, the reference page, the stored JSON and the job's
argument. Names are Hugging Face's current ones; other spellings are aliases, other structures are read by `compat`.
Knows nothing of how training is done.
"""

from typing import Any, Self

from pydantic import model_validator

from tunesmith.errors import Problem
from tunesmith.spec import compat, conflicts
from tunesmith.spec.base import Notice
from tunesmith.spec.groups.basic import BasicParameters
from tunesmith.spec.groups.data import DataParameters
from tunesmith.spec.groups.distributed import DistributedParameters
from tunesmith.spec.groups.lora import SEVEN_LINEAR, LoraParameters, chosen_targets
from tunesmith.spec.groups.optimization import OptimizationParameters, Precision
from tunesmith.spec.groups.reporting import GeneralParameters, LoggingParameters
from tunesmith.spec.groups.saving import MAX_SAVED, SavingParameters
from tunesmith.spec.groups.steps import Scheduler, TrainingParameters
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.optimizers import Optimizer
from tunesmith.spec.problems import ruled_out

__all__ = [
    "MAX_SAVED",
    "SEVEN_LINEAR",
    "TRAIN",
    "Optimizer",
    "Precision",
    "Scheduler",
    "TrainSpec",
    "chosen_targets",
]


class TrainSpec(  # pydantic takes the fields of the last base first
    GeneralParameters,
    LoggingParameters,
    DistributedParameters,
    OptimizationParameters,
    LoraParameters,
    SavingParameters,
    TrainingParameters,
    DataParameters,
    BasicParameters,
):
    """What to train, on what, and how."""

    @classmethod
    def _restructure(cls, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        compat.restructure(found, notices, problems)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := conflicts.conflicts(self):
            raise ruled_out(problems)
        return self

    @property
    def notices(self) -> list[Notice]:
        """What was mapped on reading, and what has no effect."""
        found = super().notices
        if self.eval_file is not None and self.eval_strategy == "no":
            message = "`eval_file` is not read: set `eval_strategy=steps` or `epoch` to evaluate on it."
            found.append(Notice(field="eval_file", message=message))
        return found

    @property
    def chosen_precision(self) -> Precision:
        """The precision that was asked for, the two older switches included."""
        if self.bf16:
            return "bf16"
        return "fp16" if self.fp16 else self.precision

    @property
    def workers(self) -> tuple[int, int]:
        """The least and the most workers that train together."""
        least, _, most = str(self.num_workers).partition(":")
        return int(least), int(most or least)

    @property
    def effective_batch_size(self) -> int:
        """Rows per optimizer step over all workers, which stays the same however many of them there are."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.workers[1]


def _stem(spec: TrainSpec) -> str:
    return spec.training_type


def _saves_left(spec: TrainSpec, rows: int, step: int, total: int | None) -> int:
    from tunesmith.planning import checkpoints_left  # it reads the parameters that are declared here

    return checkpoints_left(spec, rows, step, total)


TRAIN = Kind(
    name="train",
    label=("Training", "训练"),
    spec=TrainSpec,
    behaviour="tunesmith_platform.tasks.kinds.train:Training",
    program="tunesmith_jobs.train.program:Training",
    room=Room.TRAIN,
    supports=frozenset({Feature.CHECKPOINTS, Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-trainer",
    stem=_stem,
    saves_left=_saves_left,
)
