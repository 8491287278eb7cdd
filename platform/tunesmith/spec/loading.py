"""The parameters of loading a data set: local files, a bucket, or the Hugging Face Hub.

Knows parameters and what excludes what; knows nothing of how rows are read.
"""

from collections.abc import Mapping
from typing import Any, Literal

from tunesmith.errors import InvalidInput, Problem
from tunesmith.spec.operation import OperationSpec, seeded
from tunesmith.spec.parameter import Fold, Group, param, when
from tunesmith.spec.variables import variables_in

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


def refuse_bare_token(parameters: Mapping[str, Any]) -> None:
    """Refuse a secret that is written out: parameters are stored and shown.

    Raises:
        InvalidInput: One is.
    """
    token = parameters.get("token")
    if token is not None and not any(variable.source == "env" for variable in variables_in(token)):
        raise InvalidInput(
            "A token is never written out: parameters are stored and shown.",
            hint="Write `token: ${env.HF_TOKEN}`; it is read where the step runs.",
            field="token",
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
            "The Hub id `owner/name`; or a local data set's file, its folder (`save_to_disk`'s too), or its URI in a "
            "bucket.",
            "Hub 上的 owner/name；或本地数据集的文件、目录（包括 save_to_disk 的），或存储桶中的 URI。",
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
            "Which part of the data set: `train`, `test`, of the Hub's also `train[:10%]`; `train` when empty.",
            "数据集的哪个部分，例如 train、test；Hub 数据集还可写 train[:10%]；留空为 train。",
        ),
        group=Group.DATA,
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
            "按文件名加载该目录内所有同格式文件。",
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
    seed: int = seeded()

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
