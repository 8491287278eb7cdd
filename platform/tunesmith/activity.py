"""What a job is busy with and how far it is: what its heartbeats carry beside events, and the words for it.

A job that is to stop has time as long as this gets on. Knows nothing of how a job is run.
"""

from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

_LARGE = 2**53


class ActivityKind(StrEnum):
    """What a job may be busy with; of two at a time the later one here is told of."""

    TRAINING = "training"
    PREPARING = "preparing"
    EVALUATING = "evaluating"
    ANSWERING = "answering"
    JUDGING = "judging"
    BENCHMARKING = "benchmarking"
    REPORTING = "reporting"
    MERGING = "merging"
    WEIGHING = "weighing"
    WRITING = "writing"
    PROVING = "proving"
    SAVING = "saving"
    UPLOADING = "uploading"
    DOWNLOADING = "downloading"


class Unit(StrEnum):
    """What an activity is counted in."""

    BYTES = "bytes"
    BATCHES = "batches"
    TENSORS = "tensors"
    ROWS = "rows"
    TOKENS = "tokens"
    EVENTS = "events"
    FILES = "files"
    BENCHMARKS = "benchmarks"


class ActivityFacts(NamedTuple):
    """What a kind of activity means."""

    words_en: str
    words_zh: str
    is_left_on_stop: bool
    """Whether a stop ends it after the batch or tensor under way; else it is finished first."""


ACTIVITIES: dict[ActivityKind, ActivityFacts] = {
    ActivityKind.TRAINING: ActivityFacts("Training", "正在训练", True),
    ActivityKind.PREPARING: ActivityFacts("Working on rows", "正在处理数据", True),
    ActivityKind.EVALUATING: ActivityFacts("Evaluating", "正在评估", True),
    ActivityKind.ANSWERING: ActivityFacts("Answering", "正在生成回答", True),
    ActivityKind.JUDGING: ActivityFacts("Waiting for the judge", "正在等待评审模型", True),
    ActivityKind.BENCHMARKING: ActivityFacts("Taking benchmarks", "正在完成标准基准", True),
    ActivityKind.REPORTING: ActivityFacts("Sending what it measured", "正在上报测量数据", False),
    ActivityKind.MERGING: ActivityFacts("Merging", "正在合并权重", True),
    ActivityKind.WEIGHING: ActivityFacts("Computing what matters", "正在计算重要性矩阵", True),
    ActivityKind.WRITING: ActivityFacts("Writing files", "正在写文件", True),
    ActivityKind.PROVING: ActivityFacts("Proving files", "正在验证文件", True),
    ActivityKind.SAVING: ActivityFacts("Saving", "正在保存", False),
    ActivityKind.UPLOADING: ActivityFacts("Uploading", "正在上传", False),
    ActivityKind.DOWNLOADING: ActivityFacts("Downloading", "正在下载", True),
}
_UNITS_ZH = {
    Unit.BATCHES: "批",
    Unit.TENSORS: "个张量",
    Unit.ROWS: "行",
    Unit.TOKENS: "个词元",
    Unit.EVENTS: "条记录",
    Unit.FILES: "个文件",
    Unit.BENCHMARKS: "项基准",
}


class Activity(BaseModel):
    """What a job is busy with, and how far it is."""

    model_config = ConfigDict(extra="ignore")
    kind: ActivityKind
    done: int = Field(ge=0, le=_LARGE, description="How much is done, in `unit`.")
    total: int | None = Field(None, ge=0, le=_LARGE, description="Of how much; null where that is not known.")
    unit: Unit

    @property
    def text_en(self) -> str:
        """It in English: `Saving: 1.2 of 3.4 GB`."""
        done, total, unit = self._amounts()
        amount = f"{done} of {total} {unit}" if total is not None else f"{done} {unit}"
        return f"{ACTIVITIES[self.kind].words_en}: {amount}"

    @property
    def text_zh(self) -> str:
        """It in Chinese: `正在保存：1.2 / 3.4 GB`."""
        done, total, unit = self._amounts()
        amount = f"{done} / {total} " if total is not None else f"{done} "
        return f"{ACTIVITIES[self.kind].words_zh}：{amount}{_UNITS_ZH.get(self.unit, unit)}"

    def _amounts(self) -> tuple[str, str | None, str]:
        if self.unit is not Unit.BYTES:
            return str(self.done), str(self.total) if self.total is not None else None, str(self.unit)
        scale, unit = next(
            (scale, unit) for scale, unit in _SIZES if scale <= max(self.done, self.total or 0) or scale == 1
        )

        def amount(count: int) -> str:
            return f"{count / scale:.1f}" if scale > 1 else str(count)

        return amount(self.done), amount(self.total) if self.total is not None else None, unit


_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
