"""Every parameter that says how candidates of an evaluation answer: greedily, unless they are to be drawn.

Knows parameters; knows nothing of how text is made.
"""

from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.sampling import DRAWS, sampling


class AnswersSpec(ModelUseSpec):
    """How samples are answered."""

    temperature: float = sampling(
        "temperature",
        0.0,
        help=(
            "0 takes the most likely token each time: two checkpoints differ by what they learnt alone. Higher draws.",
            "0 表示每次取概率最高的词元，检查点之间的差异只来自训练；大于 0 时随机采样。",
        ),
        group=Group.GENERAL,
        le=1,
    )
    max_new_tokens: int = sampling("max_new_tokens", 256, group=Group.GENERAL, ui=(32, 2048))
    top_k: int = sampling("top_k", 0, group=Group.GENERAL, fold=Fold.ADVANCED, visible_when=DRAWS)
    top_p: float = sampling("top_p", 1.0, group=Group.GENERAL, fold=Fold.ADVANCED, visible_when=DRAWS)
    min_p: float = sampling("min_p", 0.0, group=Group.GENERAL, fold=Fold.ADVANCED, visible_when=DRAWS)
    repetition_penalty: float = sampling("repetition_penalty", 1.0, group=Group.GENERAL, fold=Fold.ADVANCED)
    presence_penalty: float = sampling("presence_penalty", 0.0, group=Group.GENERAL, fold=Fold.ADVANCED)
    seed: int = sampling(
        "seed",
        42,
        help=(
            "Decides which samples are asked, and what is drawn.",
            "决定选取哪些样本以及随机采样的结果。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        step=1,
    )
    repeats: int = param(
        1,
        label=("Answers a sample", "每个样本的回答数"),
        help=(
            "How often each sample is asked, where answers are drawn: their spread is reported.",
            "采样作答时每个样本的提问次数，并报告其离散程度。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        visible_when=DRAWS,
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
