"""What each score is, for tables, charts and MLflow: its names, range, direction and a sentence. Knows no formula."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tunesmith.evaluation.results import COMPOSITE, Text

SCORERS_VERSION = "3"
"""Changes whenever any score of the same answer may change: scores of two versions are not comparable."""


@dataclass(frozen=True)
class ScoreInfo:
    """A score as people read it."""

    en: str
    zh: str
    about: Text
    low: float = 0.0
    high: float | None = 1.0
    better: Literal["higher", "lower"] = "higher"
    is_weighable: bool = True
    is_often_best: bool = False
    """Whether every answer may well have the best value, so that it is no matter when all do."""
    is_percent: bool = False

    @property
    def best(self) -> float | None:
        """The best value that there is; None where there is no end."""
        return self.high if self.better == "higher" else self.low


def _info(
    labels: tuple[str, str],
    about: tuple[str, str],
    *,
    high: float | None = 1.0,
    low: float = 0.0,
    better: Literal["higher", "lower"] = "higher",
    is_weighable: bool = True,
    is_often_best: bool = False,
    is_percent: bool = False,
) -> ScoreInfo:
    return ScoreInfo(
        en=labels[0],
        zh=labels[1],
        about=Text(en=about[0], zh=about[1]),
        low=low,
        high=high,
        better=better,
        is_weighable=is_weighable,
        is_often_best=is_often_best,
        is_percent=is_percent,
    )


INFO: Mapping[str, ScoreInfo] = MappingProxyType(
    {
        COMPOSITE: _info(
            ("Composite", "综合分"),
            ("The weighted mean of the scores that have a weight.", "有权重的各项指标的加权平均。"),
            is_weighable=False,
        ),
        "similarity": _info(
            ("Semantic similarity", "语义相似度"),
            (
                "How near the answer's meaning is to the reference's, by an embedder; 0 is as near as any two samples.",
                "由嵌入模型计算的回答与参考答案的语义接近程度；0 表示与任意两条样本一样接近。",
            ),
        ),
        "keyword_coverage": _info(
            ("Keyword coverage", "关键词覆盖率"),
            ("The share of the expected keywords that the answer names.", "回答中出现的应有关键词所占比例。"),
            is_percent=True,
        ),
        "perplexity": _info(
            ("Perplexity", "困惑度"),
            (
                "How uncertain the model is of the reference answer, token by token; in the composite 1 / (1 + ln).",
                "模型对参考答案逐词元的不确定程度；在综合分中按 1 / (1 + ln) 计入。",
            ),
            low=1.0,
            high=None,
            better="lower",
        ),
        "format": _info(
            ("Format match", "格式匹配度"),
            (
                "Whether lists, code, JSON, script and ending of the answer are as in the reference.",
                "回答的列表、代码、JSON、文字种类与结尾是否与参考答案一致。",
            ),
        ),
        "length": _info(
            ("Length ratio", "长度比"),
            (
                "The shorter of answer and reference divided by the longer, in words or Chinese characters.",
                "回答与参考答案中较短者除以较长者，按词或汉字计。",
            ),
        ),
        "rouge_l": _info(
            ("ROUGE-L", "ROUGE-L"),
            (
                "F of the longest sequence of words that answer and reference share in order.",
                "回答与参考答案按顺序共有的最长词序列的 F 值。",
            ),
        ),
        "exact_match": _info(
            ("Exact match", "完全匹配"),
            (
                "1 where the answer is the reference but for capitals, punctuation and articles.",
                "除大小写、标点和冠词外与参考答案相同则为 1。",
            ),
            is_percent=True,
        ),
        "token_f1": _info(
            ("Token F1", "词元 F1"),
            (
                "F1 of the words that answer and reference share, in any order.",
                "回答与参考答案共有词（不计顺序）的 F1。",
            ),
        ),
        "repetition": _info(
            ("Repetition rate", "重复率"),
            (
                "The share of runs of four words that stand in the answer before.",
                "回答中此前已出现过的四词片段所占比例。",
            ),
            better="lower",
            is_often_best=True,
            is_percent=True,
        ),
        "coherence": _info(
            ("Coherence", "连贯性"),
            (
                "The mean similarity of neighbouring sentences, by an embedder.",
                "由嵌入模型计算的相邻句子的平均相似度。",
            ),
        ),
        "finished": _info(
            ("Finished answers", "正常结束率"),
            (
                "1 where the answer ended by itself, 0 where it was cut at the limit.",
                "回答自行结束为 1，在长度上限处被截断为 0。",
            ),
            is_often_best=True,
            is_percent=True,
        ),
        "instructions": _info(
            ("Instructions followed", "指令遵循率"),
            ("The share of a sample's checks that its answer passes.", "回答通过的样本检查项所占比例。"),
            is_percent=True,
        ),
        "accuracy": _info(
            ("Accuracy", "准确率"),
            (
                "1 where the answer names the expected class and no other.",
                "回答指出应有的类别且不含其他类别则为 1。",
            ),
            is_percent=True,
        ),
        "judge": _info(
            ("Judge", "评审模型"),
            (
                "How a judging model rates the answer against the reference, in both orders.",
                "评审模型以两种顺序对回答与参考答案的评判。",
            ),
        ),
    }
)
"""Every score but the custom ones, in the order in which tables show them."""
