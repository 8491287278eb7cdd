"""How a model's tokens are drawn: each of these parameters declared once, for evaluations, prompts and chats.

A kind gives its default, its place in the form, and a narrower range or other words where it means less or more. Knows
parameters; knows nothing of how text is made.
"""

from typing import Any

from tunesmith.spec.parameter import Condition, param

DRAWS = (Condition(field="temperature", op="gt", value=0),)
"""The most likely token needs no chance."""
_DECLARED: dict[str, dict[str, Any]] = {
    "temperature": {
        "label": ("Temperature", "温度"),
        "help": (
            "0 takes the most likely token each time; higher draws more freely.",
            "0 表示每次取概率最高的词元；越高越随机。",
        ),
        "step": 0.05,
        "ge": 0,
        "le": 2,
    },
    "max_new_tokens": {
        "label": ("Max length", "最大长度"),
        "help": ("Tokens of an answer at most.", "每个回答最多生成的词元数。"),
        "unit": "tokens",
        "step": 1,
        "ge": 1,
        "le": 8192,
    },
    "top_k": {
        "label": ("Top K", "Top K"),
        "help": (
            "Draw among so many of the most likely tokens; 0: among all.",
            "仅在概率最高的若干词元中采样；0 表示不限制。",
        ),
        "step": 1,
        "ge": 0,
        "le": 1000,
    },
    "top_p": {
        "label": ("Top P (nucleus sampling)", "Top P（核采样）"),
        "help": (
            "Draw among the most likely tokens that together have this share.",
            "仅在累计概率达到该值的词元中采样。",
        ),
        "step": 0.01,
        "gt": 0,
        "le": 1,
    },
    "min_p": {
        "label": ("Min P", "Min P"),
        "help": (
            "Draw among tokens that have at least this share of the most likely one's probability.",
            "仅在概率不低于最高概率该比例的词元中采样。",
        ),
        "step": 0.01,
        "ge": 0,
        "le": 1,
    },
    "repetition_penalty": {
        "label": ("Repetition penalty", "重复惩罚"),
        "help": (
            "Above 1 makes tokens that were said less likely; 1 leaves them.",
            "大于 1 时降低已出现词元的概率；1 表示不变。",
        ),
        "step": 0.05,
        "gt": 0,
        "le": 2,
    },
    "presence_penalty": {
        "label": ("Presence penalty", "存在惩罚"),
        "help": (
            "Taken once from the logit of each token that the answer holds already.",
            "从回答中已出现的词元的 logit 中一次性减去该值。",
        ),
        "step": 0.05,
        "ge": -2,
        "le": 2,
    },
    "seed": {
        "label": ("Random seed", "随机种子"),
        "help": (
            "The same seed, prompts, parameters and machine give the same answers.",
            "相同的种子、提示、参数与机器得到相同的回答。",
        ),
        "ge": 0,
        "le": 999_999,
    },
}


def sampling(name: str, default: Any, **over: Any) -> Any:
    """A parameter of how tokens are drawn.

    Args:
        name: Which.
        default: The kind's own.
        over: What is the kind's own besides: `group`, `fold`, a narrower range, other words.
    """
    return param(default, **({"roles": ()} | _DECLARED[name] | over))
