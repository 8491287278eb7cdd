"""Every parameter that says how candidates of an evaluation answer: greedily, unless they are to be drawn.

Knows parameters; knows nothing of how text is made.
"""

from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.parameter import Condition, Fold, Group, param

_DRAWS = (Condition(field="temperature", op="gt", value=0),)
"""The most likely token needs no chance."""


class AnswersSpec(ModelUseSpec):
    """How samples are answered."""

    temperature: float = param(
        0.0,
        label=("Temperature", "温度"),
        help=(
            "0 takes the most likely token each time: two checkpoints differ by what they learnt alone. Higher draws.",
            "0 表示每次取概率最高的词元，检查点之间的差异只来自训练；大于 0 时随机采样。",
        ),
        group=Group.GENERAL,
        roles=(),
        step=0.05,
        ge=0,
        le=1,
    )
    max_new_tokens: int = param(
        256,
        label=("Max length", "最大长度"),
        help=("Tokens of an answer at most.", "每个回答最多生成的词元数。"),
        group=Group.GENERAL,
        roles=(),
        unit="tokens",
        step=1,
        ui=(32, 2048),
        ge=1,
        le=8192,
    )
    top_k: int = param(
        0,
        label=("Top K", "Top K"),
        help=(
            "Draw among so many of the most likely tokens; 0: among all.",
            "仅在概率最高的若干词元中采样；0 表示不限制。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        visible_when=_DRAWS,
        ge=0,
        le=1000,
    )
    top_p: float = param(
        1.0,
        label=("Top P (nucleus sampling)", "Top P（核采样）"),
        help=(
            "Draw among the most likely tokens that together have this share.",
            "仅在累计概率达到该值的词元中采样。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.01,
        visible_when=_DRAWS,
        gt=0,
        le=1,
    )
    min_p: float = param(
        0.0,
        label=("Min P", "Min P"),
        help=(
            "Draw among tokens that have at least this share of the most likely one's probability.",
            "仅在概率不低于最高概率该比例的词元中采样。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.01,
        visible_when=_DRAWS,
        ge=0,
        le=1,
    )
    repetition_penalty: float = param(
        1.0,
        label=("Repetition penalty", "重复惩罚"),
        help=(
            "Above 1 makes tokens that were said less likely; 1 leaves them.",
            "大于 1 时降低已出现词元的概率；1 表示不变。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.05,
        gt=0,
        le=2,
    )
    presence_penalty: float = param(
        0.0,
        label=("Presence penalty", "存在惩罚"),
        help=(
            "Taken once from the logit of each token that the answer holds already.",
            "从回答中已出现词元的 logit 中一次性减去该值。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.05,
        ge=-2,
        le=2,
    )
    seed: int = param(
        42,
        label=("Random seed", "随机种子"),
        help=(
            "Decides which samples are asked, and what is drawn.",
            "决定选取哪些样本以及随机采样的结果。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        ge=0,
        le=999_999,
    )
    repeats: int = param(
        1,
        label=("Answers a sample", "每个样本的回答数"),
        help=(
            "How often each sample is asked, where answers are drawn: their spread is reported.",
            "随机作答时每个样本的提问次数，并报告其离散程度。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        visible_when=_DRAWS,
        ge=1,
        le=20,
    )

    @property
    def draws(self) -> bool:
        """Whether answers are drawn; else each is made of the likeliest tokens."""
        return self.temperature > 0

    @property
    def asked_times(self) -> int:
        """How often each sample is asked: the likeliest token is the same each time."""
        return self.repeats if self.draws else 1
