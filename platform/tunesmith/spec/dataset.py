"""Every parameter of the operations on data sets, declared once: concat, select, filter, map, and our own.

A data set that an operation works on is named by where its rows lie: a file, or an earlier step of a pipeline. Other
spellings are aliases. Knows parameters and what excludes what; knows nothing of how rows are read or written. Loading
has a module of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.errors import InvalidInput, Problem
from tunesmith.limits import MAX_COUNT
from tunesmith.spec.base import Spec
from tunesmith.spec.expression import parse_condition
from tunesmith.spec.kinds import Kind, Room
from tunesmith.spec.loading import LoadSpec
from tunesmith.spec.operation import OperationSpec, dataset, seeded, several
from tunesmith.spec.parameter import Fold, Group, param, when
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.text_template import parse_filling


class ConcatSpec(OperationSpec):
    """Put data sets together: one after the other, or column by column."""

    datasets: list[str] = several()
    direction: Literal["vertical", "horizontal"] = param(
        "vertical",
        label=("Direction", "方向"),
        help=(
            "`vertical` appends rows; `horizontal` joins the columns of rows in the same place.",
            "vertical 追加行；horizontal 按行号合并列。",
        ),
        group=Group.DATA,
    )


class SelectSpec(OperationSpec):
    """Keep some rows, or some columns."""

    dataset: str = dataset()
    axis: Literal["rows", "columns"] = param(
        "columns",
        label=("Axis", "轴"),
        help=("What is chosen.", "选择行还是列。"),
        group=Group.DATA,
    )
    indices: list[Annotated[int, Field(ge=0, le=MAX_COUNT)]] | None = param(
        None,
        label=("Row indices", "行索引"),
        help=("The rows to keep, counted from 0, in this order.", "要保留的行（从 0 起），按此顺序。"),
        group=Group.DATA,
        visible_when=when(axis="rows"),
        min_length=1,
        max_length=1_000_000,
        fail_fast=True,
    )
    columns: list[str] | None = param(
        None,
        label=("Columns", "列"),
        help=("The columns to keep, in this order.", "要保留的列，按此顺序。"),
        group=Group.DATA,
        visible_when=when(axis="columns"),
        min_length=1,
    )

    def _conflicts(self) -> list[Problem]:
        field = "indices" if self.axis == "rows" else "columns"
        if getattr(self, field) is None:
            message = f"`axis={self.axis}` needs `{field}`."
            return [Problem(field=field, message=message, hint=f"Give `{field}: [...]`.")]
        if self.indices is not None and min(self.indices) < 0:
            return [
                Problem(
                    field="indices", message="Rows are counted from 0.", hint="Leave out what is negative."
                )
            ]
        return []


class FilterSpec(OperationSpec):
    """Keep the rows that a condition is true of."""

    dataset: str = dataset()
    condition: str = param(
        label=("Filter condition", "过滤条件"),
        help=(
            'A condition over columns: `len(text) > 10 and label in [0, 1] and not (source contains "web")`.',
            "列上的条件，例如 len(text) > 10 and label in [0, 1]。",
        ),
        group=Group.DATA,
        min_length=1,
    )

    def _conflicts(self) -> list[Problem]:
        return _understood("condition", parse_condition, self.condition)


class MapSpec(OperationSpec):
    """Write a column from a template over the others."""

    dataset: str = dataset()
    template: str = param(
        label=("Template", "模板"),
        help=(
            "Text with `{column}` where a row's value goes; a column that a row lacks ends the step.",
            "带 {column} 占位符的文本；缺少的列会报错。",
        ),
        group=Group.DATA,
        min_length=1,
    )
    output_column: str = param(
        "text",
        label=("Output column", "输出列"),
        help=("The column that is written.", "写入的列。"),
        group=Group.DATA,
        min_length=1,
    )
    remove_columns: list[str] = param(
        default_factory=list,
        label=("Remove columns", "移除列"),
        help=("Columns that are left out afterwards.", "处理后移除的列。"),
        group=Group.DATA,
        max_length=1000,
    )

    def _conflicts(self) -> list[Problem]:
        return _understood("template", parse_filling, self.template)


class SplitSpec(OperationSpec):
    """Part a data set into train, eval and test, drawn by the seed."""

    dataset: str = dataset()
    train: float = param(
        0.9,
        label=("Train share", "训练集比例"),
        help=("Share of the rows to train on.", "训练集所占比例。"),
        group=Group.DATA,
        gt=0,
        le=1,
    )
    eval: float = param(
        0.1,
        label=("Evaluation share", "评估集比例"),
        help=("Share of the rows to evaluate on.", "评估集所占比例。"),
        group=Group.DATA,
        ge=0,
        lt=1,
    )
    test: float = param(
        0.0,
        label=("Test share", "测试集比例"),
        help=("Share of the rows to test on at the end.", "测试集所占比例。"),
        group=Group.DATA,
        ge=0,
        lt=1,
    )
    seed: int = seeded()

    def _conflicts(self) -> list[Problem]:
        whole = self.train + self.eval + self.test
        if abs(whole - 1) > 1e-6:
            message = f"`train`, `eval` and `test` add up to {whole:g}, not to 1."
            return [Problem(field="train", message=message, hint="Give shares of the whole.")]
        return []


class ShuffleSpec(OperationSpec):
    """Draw a new order of rows."""

    dataset: str = dataset()
    seed: int = seeded()


class DedupSpec(OperationSpec):
    """Leave out rows that were there before."""

    dataset: str = dataset()
    columns: list[str] | None = param(
        None,
        label=("Columns", "列"),
        help=("What makes rows the same; every column when empty.", "用于判断重复的列；留空为全部列。"),
        group=Group.DATA,
        min_length=1,
    )
    near: bool = param(
        False,
        label=("Near duplicates", "近似去重"),
        help=(
            "Leave out rows that nearly say the same too (MinHash over runs of five letters).",
            "同时去除近似重复的行（对 5 字符片段做 MinHash）。",
        ),
        group=Group.DATA,
    )
    threshold: float = param(
        0.8,
        label=("Similarity", "相似度"),
        help=(
            "From which share of common runs of letters on two rows count as the same.",
            "共同字符片段达到该比例即视为相同。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(near=True),
        ge=0.5,
        le=1,
    )


class MixSpec(OperationSpec):
    """Draw from several data sets by weights until one of them is used up."""

    datasets: list[str] = several()
    weights: list[float] | None = param(
        None,
        label=("Weights", "权重"),
        help=("How often each is drawn from; all alike when empty.", "各数据集的抽取权重；留空则相同。"),
        group=Group.DATA,
        min_length=1,
    )
    stop: Literal["first_exhausted", "all_exhausted"] = param(
        "first_exhausted",
        label=("Stop", "停止条件"),
        help=(
            "`first_exhausted` ends with the first data set that is used up and so keeps the weights; "
            "`all_exhausted` goes on with the others: every row is taken once.",
            "first_exhausted 在任一数据集用完时停止（保持权重）；all_exhausted 继续使用其余数据集，每行恰好一次。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
    )
    limits: list[Annotated[int, Field(ge=0, le=MAX_COUNT)]] | None = param(
        None,
        label=("Limits", "行数上限"),
        help=(
            "At most so many of each one's first rows; 0 takes all.",
            "每个数据集最多取前多少行；0 表示全部。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        min_length=1,
    )
    seed: int = seeded()

    def _conflicts(self) -> list[Problem]:
        if self.limits is not None and len(self.limits) != len(self.datasets):
            message = f"{len(self.datasets)} data sets have {len(self.limits)} limits."
            return [Problem(field="limits", message=message, hint="Give one for each; 0 takes all its rows.")]
        if self.weights is None:
            return []
        if len(self.weights) != len(self.datasets):
            message = f"{len(self.datasets)} data sets have {len(self.weights)} weights."
            return [Problem(field="weights", message=message, hint="Give one weight for each.")]
        if not all(0 < weight < float("inf") for weight in self.weights):
            message = "A weight is a number above 0."
            return [
                Problem(field="weights", message=message, hint="Leave out a data set that is not wanted.")
            ]
        return []


OPERATIONS: dict[str, type[OperationSpec]] = {
    "load": LoadSpec,
    "concat": ConcatSpec,
    "select": SelectSpec,
    "filter": FilterSpec,
    "map": MapSpec,
    "split": SplitSpec,
    "shuffle": ShuffleSpec,
    "dedup": DedupSpec,
    "mix": MixSpec,
}
"""Each method with its parameters."""


def operation(method: str) -> type[OperationSpec]:
    """The parameters of a method.

    Raises:
        InvalidInput: There is no such method.
    """
    found = OPERATIONS.get(method)
    if found is None:
        meant = did_you_mean(method, list(OPERATIONS))
        hint = (
            f"Did you mean `{meant}`?"
            if meant
            else f"There are {', '.join(f'`{name}`' for name in OPERATIONS)}."
        )
        raise InvalidInput(f"There is no method `{method}`.", hint=hint, field="method")
    return found


def read_operation(method: str, parameters: Mapping[str, Any]) -> OperationSpec:
    """Read an operation's parameters.

    Raises:
        InvalidInput: There is no such method, or its parameters are not right.
    """
    return operation(method).read(parameters)


def _understood(field: str, parse: Any, text: str) -> list[Problem]:
    try:
        parse(text)
    except InvalidInput as error:
        return [Problem(field=field, message=error.message, hint=error.hint)]
    return []


DATASET_NAME = r"^[A-Za-z0-9\u4e00-\u9fff][\w\-]{0,99}$"
"""No `.` and no `/`: a file's path has one of them, so that neither is taken for the other."""
INTO = "into"
"""The parameter that names the data set whose next version is made."""


class DatasetSpec(Spec):
    """What a task on data is asked for: an operation, its parameters, and where its rows go."""

    operation: str = param(
        label=("Operation", "操作"),
        help=("What is done: `load`, `filter`, `split`, ...", "执行的操作：load、filter、split 等。"),
        group=Group.BASIC,
        roles=(),
        min_length=1,
        max_length=40,
    )
    parameters: dict[str, Any] = param(
        label=("Parameters", "参数"),
        help=(
            "The operation's. A data set is named by `name`, `name@number` or an absolute path.",
            "该操作的参数。数据集可写为 name、name@number 或绝对路径。",
        ),
        group=Group.DATA,
        roles=(),
        default_factory=dict,
    )
    into: str | None = param(
        None,
        label=("Into", "目标数据集"),
        help=(
            "The data set whose next version is made; told by what it is made of when left out. A split makes one for "
            "each of its parts (`name-train`).",
            "生成新版本的数据集；留空则按来源命名。split 为每个部分各生成一个（name-train）。",
        ),
        group=Group.BASIC,
        roles=(),
        pattern=DATASET_NAME,
        max_length=100,
    )


def _stem(spec: DatasetSpec) -> str:
    return spec.operation


DATASET = Kind(
    name="dataset",
    label=("Data", "数据处理"),
    spec=DatasetSpec,
    behaviour="tunesmith_platform.tasks.kinds.dataset:DataWork",
    program="tunesmith_jobs.data.program:Operations",
    room=Room.DATA,
    component="datasets",
    next_step="Look at its rows (`tunesmith data validate`), or train on them.",
    stem=_stem,
)
