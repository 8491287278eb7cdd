"""What every operation on data sets has: its check, and the parameters that several of them share."""

from typing import Any, Self

from pydantic import model_validator

from tunesmith.errors import Problem
from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.problems import ruled_out


class OperationSpec(Spec):
    """What every operation has."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := self._conflicts():
            raise ruled_out(problems)
        return self

    def _conflicts(self) -> list[Problem]:
        return []


def dataset() -> Any:
    """The rows that an operation works on."""
    return param(
        label=("Dataset", "数据集"),
        help=("The rows to work on: a file, or an earlier step.", "要处理的数据：文件或前一步的输出。"),
        group=Group.DATA,
        min_length=1,
    )


def several() -> Any:
    """The rows of several data sets."""
    return param(
        label=("Datasets to merge", "合并的数据集"),
        help=("The data sets to put together, in this order.", "按顺序合并的数据集。"),
        group=Group.DATA,
        min_length=1,
        max_length=100,
    )


def seeded() -> Any:
    """What an operation draws by."""
    return param(
        42,
        label=("Seed", "随机种子"),
        help=("The same seed gives the same rows in the same order.", "相同的种子得到相同的行与顺序。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        ge=0,
        le=2**32 - 1,
    )
