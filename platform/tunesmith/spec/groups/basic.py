"""What kind of training, and where it runs."""

from typing import Literal

from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Group, param
from tunesmith.spec.roles import Role


class BasicParameters(Spec):
    """The choices that decide which others there are."""

    training_type: Literal["sft", "pretrain", "classification"] = param(
        "sft",
        label=("Training type", "训练类型"),
        help=(
            "What the model learns: `sft` to answer as in the given conversations, `pretrain` to continue plain text, "
            "`classification` to label a text.",
            "训练方式：sft 有监督微调，pretrain 预训练或继续预训练，classification 文本分类。",
        ),
        group=Group.BASIC,
        roles={Role.TEXT},
        aliases=("task",),
        value_aliases={"pt": "pretrain", "pretraining": "pretrain", "pre-training": "pretrain"},
        refused_values={
            "dpo": ("training on preference pairs is not here yet.", "Use `sft` on the chosen answers."),
        },
    )
    device: Literal["auto", "cpu", "gpu"] = param(
        "auto",
        label=("Training device", "训练设备"),
        help=(
            "Where to train. `auto` takes a GPU where the cluster has one.",
            "训练设备。auto：集群有 GPU 时使用 GPU。",
        ),
        group=Group.BASIC,
        roles=(),
    )
