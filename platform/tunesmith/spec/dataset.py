"""Every parameter of the operations on data sets, declared once: load, concat, select, filter, map, and our own.

A data set that an operation works on is named by where its rows lie: a file, or an earlier step of a pipeline. Other
spellings are aliases. Knows parameters and what excludes what; knows nothing of how rows are read or written.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from tunesmith.errors import InvalidInput, Problem
from tunesmith.spec.expression import parse_condition
from tunesmith.spec.filling import parse_filling
from tunesmith.spec.parameter import Fold, Group, Spec, did_you_mean, param, ruled_out, when

FORMATS: dict[str, tuple[str, ...]] = {
    "json": (".json", ".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "text": (".txt",),
}
"""The endings of each loader's files; `.gz` and `.zst` may follow."""
_NO_CODE = (
    "Code that comes with a data set is never run here.",
    "Leave it out; data sets that need it have to be converted to Parquet or JSONL first.",
)


class OperationSpec(Spec):
    """What every operation has."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := self._conflicts():
            raise ruled_out(problems)
        return self

    def _conflicts(self) -> list[Problem]:
        return []


def _dataset() -> Any:
    return param(
        label=("Dataset", "数据集"),
        help=("The rows to work on: a file, or an earlier step.", "要处理的数据：文件或前一步的输出。"),
        group=Group.DATA,
        min_length=1,
    )


def _several() -> Any:
    return param(
        label=("Datasets to merge", "合并的数据集"),
        help=("The data sets to put together, in this order.", "按顺序合并的数据集。"),
        group=Group.DATA,
        min_length=1,
        max_length=100,
    )


def _seed() -> Any:
    return param(
        42,
        label=("Seed", "随机种子"),
        help=("The same seed gives the same rows in the same order.", "相同的种子得到相同的行与顺序。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        ge=0,
        le=2**32 - 1,
    )


class LoadSpec(OperationSpec):
    """Load a data set: local files, or one of the Hugging Face Hub."""

    provider: Literal["huggingface", "local"] = param(
        "huggingface",
        label=("Provider", "数据源"),
        help=("Where the rows come from.", "数据来自哪里。"),
        group=Group.DATA,
        aliases=("driver",),
    )
    path: str | None = param(
        None,
        label=("Dataset path", "数据集路径"),
        help=(
            "The Hub id `owner/name`, or the folder or file of a local data set.",
            "Hub 上的 owner/name，或本地数据集的文件夹或文件。",
        ),
        group=Group.DATA,
        min_length=1,
    )
    loader: Literal["json", "csv", "parquet", "text"] | None = param(
        None,
        label=("File format", "文件格式"),
        help=(
            "What the local files are; told by their endings when empty.",
            "本地文件格式；留空则按扩展名判断。",
        ),
        group=Group.DATA,
        aliases=("format",),
        visible_when=when(provider="local"),
    )
    name: str | None = param(
        None,
        label=("Name", "配置名"),
        help=("The Hub data set's configuration.", "Hub 数据集的配置名。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
        min_length=1,
    )
    split: str | None = param(
        None,
        label=("Split", "数据划分"),
        help=(
            "Which part of the Hub data set: `train`, `test`, `train[:10%]`; `train` when empty.",
            "Hub 数据集的哪个部分，例如 train、test；留空为 train。",
        ),
        group=Group.DATA,
        visible_when=when(provider="huggingface"),
        min_length=1,
    )
    revision: str | None = param(
        None,
        label=("Revision", "版本"),
        help=("The Hub data set's branch, tag or commit.", "Hub 数据集的分支、标签或提交。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
        min_length=1,
    )
    token: str | None = param(
        None,
        label=("Token", "访问令牌"),
        help=(
            "For closed data sets: `${env.HF_TOKEN}`, which is read where the step runs and stored nowhere.",
            "用于受限数据集：写 ${env.HF_TOKEN}，仅在运行处读取，不会保存。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
        min_length=1,
    )
    data_files: str | list[str] | dict[str, str | list[str]] | None = param(
        None,
        label=("Data files", "数据文件"),
        help=("The files to load, one after the other.", "要加载的文件，依次读取。"),
        group=Group.DATA,
    )
    data_dir: str | None = param(
        None,
        label=("Data dir", "数据目录"),
        help=(
            "Load every file of the format in this folder, by name.",
            "按文件名加载该文件夹内所有同格式文件。",
        ),
        group=Group.DATA,
        min_length=1,
    )
    cache_dir: str | None = param(
        None,
        label=("Cache dir", "缓存目录"),
        help=("Where downloads are kept.", "下载缓存的位置。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
        min_length=1,
    )
    trust_remote_code: bool = param(
        False,
        label=("Trust remote code", "允许远程代码"),
        help=("Refused when true: code of a data set is never run.", "为真时拒绝：绝不运行数据集自带代码。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
    )
    streaming: bool = param(
        False,
        label=("Streaming", "流式加载"),
        help=(
            "Read the Hub data set without downloading it whole; our own files are always streamed.",
            "不完整下载即可读取 Hub 数据集；本地文件总是流式读取。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
    )
    keep_in_memory: bool = param(
        False,
        label=("Keep in memory", "驻留内存"),
        help=("Taken for compatibility: rows are streamed either way.", "仅为兼容：数据始终流式处理。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
    )
    save_infos: bool = param(
        False,
        label=("Save infos", "保存信息"),
        help=("Keep what was found out of the Hub data set beside its cache.", "在缓存旁保存数据集信息。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        visible_when=when(provider="huggingface"),
    )
    shuffle: bool = param(
        False,
        label=("Shuffle", "打乱"),
        help=("Draw a new order of rows, by the seed.", "按随机种子打乱行顺序。"),
        group=Group.DATA,
    )
    fraction: float = param(
        1.0,
        label=("Fraction", "采样比例"),
        help=("Keep this share of the rows, spread evenly over them.", "保留的行比例，均匀抽取。"),
        group=Group.DATA,
        step=0.01,
        gt=0,
        le=1,
    )
    seed: int = _seed()

    def _conflicts(self) -> list[Problem]:
        found: list[Problem] = []
        if self.trust_remote_code:
            found.append(Problem(field="trust_remote_code", message=_NO_CODE[0], hint=_NO_CODE[1]))
        given = [name for name in ("path", "data_files", "data_dir") if getattr(self, name) is not None]
        if self.provider == "huggingface" and self.path is None:
            hint = "Give the Hub id, e.g. `path: tatsu-lab/alpaca`, or set `provider: local`."
            found.append(Problem(field="path", message="Which data set to load is not given.", hint=hint))
        if self.provider == "local" and len(given) != 1:
            has = f"`{'` and `'.join(given)}` are given together." if given else "No file is given."
            hint = "Give one of `data_files`, `data_dir` and `path`."
            found.append(Problem(field=given[0] if given else "data_files", message=has, hint=hint))
        return found


class ConcatSpec(OperationSpec):
    """Put data sets together: one after the other, or column by column."""

    datasets: list[str] = _several()
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

    dataset: str = _dataset()
    axis: Literal["rows", "columns"] = param(
        "columns",
        label=("Axis", "轴"),
        help=("What is chosen.", "选择行还是列。"),
        group=Group.DATA,
    )
    indices: list[int] | None = param(
        None,
        label=("Row indices", "行索引"),
        help=("The rows to keep, counted from 0, in this order.", "要保留的行（从 0 起），按此顺序。"),
        group=Group.DATA,
        visible_when=when(axis="rows"),
        min_length=1,
        max_length=1_000_000,
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

    dataset: str = _dataset()
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

    dataset: str = _dataset()
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

    dataset: str = _dataset()
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
    seed: int = _seed()

    def _conflicts(self) -> list[Problem]:
        whole = self.train + self.eval + self.test
        if abs(whole - 1) > 1e-6:
            message = f"`train`, `eval` and `test` add up to {whole:g}, not to 1."
            return [Problem(field="train", message=message, hint="Give shares of the whole.")]
        return []


class ShuffleSpec(OperationSpec):
    """Draw a new order of rows."""

    dataset: str = _dataset()
    seed: int = _seed()


class DedupSpec(OperationSpec):
    """Leave out rows that were there before."""

    dataset: str = _dataset()
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

    datasets: list[str] = _several()
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
    seed: int = _seed()

    def _conflicts(self) -> list[Problem]:
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
