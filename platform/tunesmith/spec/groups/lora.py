"""Training small added matrices instead of all weights."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import field_validator

from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role

LORA = when(use_lora=True)
LORA_SHAPE = when(use_lora=True, attach_lora=False, peft_config_path=None)
"""A LoRA that is attached, or made by a file, brings its own shape."""

SEVEN_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama-like block: the default LoRA targets."""

ALL_LINEAR = "all-linear"
AUTO = "auto"


def chosen_targets(target_modules: Sequence[str], linear_modules: Sequence[str]) -> list[str]:
    """LoRA's targets in a model with these linear layers: `auto` is those of the seven that it has, else all."""
    if list(target_modules) != [AUTO]:
        return list(target_modules)
    return [name for name in SEVEN_LINEAR if name in linear_modules] or [ALL_LINEAR]


class LoraParameters(Spec):
    """LoRA's shape, and what becomes of it."""

    use_lora: bool = param(
        True,
        label=("Use LoRA fine-tuning", "使用LoRA微调"),
        help=(
            "Train small added matrices instead of all weights (Hu et al. 2021, arXiv:2106.09685).",
            "只训练低秩附加矩阵，而非全部权重。",
        ),
        group=Group.LORA,
        roles=(),
        default_when=[(when(training_type="pretrain"), False)],
        offered_when=when_not(training_type="pretrain"),
    )
    r: int = param(
        16,
        label=("LoRA r parameter", "LoRA的r参数"),
        help=(
            "Rank of the added matrices: more learns more and weighs more.",
            "LoRA 的秩，越大可学习参数越多。",
        ),
        group=Group.LORA,
        roles=(),
        step=1,
        aliases=("lora_r", "lora_rank"),
        visible_when=LORA_SHAPE,
        ge=1,
        le=512,
    )
    lora_alpha: int = param(
        16,
        label=("LoRA alpha parameter", "LoRA的alpha参数"),
        help=("Scale of the added matrices; they count alpha / r.", "LoRA 缩放系数，实际缩放为 alpha / r。"),
        group=Group.LORA,
        roles={Role.NO_STEP_COST},
        step=1,
        ui=(1, 512),
        visible_when=LORA_SHAPE,
        ge=1,
        le=1024,
    )
    lora_dropout: float = param(
        0.0,
        label=("LoRA dropout", "LoRA的dropout"),
        help=("Share of LoRA inputs dropped while training.", "训练时 LoRA 输入的随机丢弃比例。"),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.01,
        visible_when=LORA_SHAPE,
        ge=0,
        lt=1,
    )
    target_modules: list[str] = param(
        label=("LoRA target modules", "LoRA目标模块"),
        help=(
            "Names of the linear layers that get a LoRA; `all-linear` takes every one, `auto` those of the seven that "
            "the model has.",
            "应用 LoRA 的线性层名称；all-linear 表示全部线性层，auto 表示模型中存在的默认七层。",
        ),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("lora_target_modules", "lora_target"),
        visible_when=LORA_SHAPE,
        default_factory=lambda: list(SEVEN_LINEAR),
        min_length=1,
    )
    bias: Literal["none", "all", "lora_only"] = param(
        "none",
        label=("LoRA bias", "LoRA偏置"),
        help=("Which bias vectors are trained too.", "同时训练哪些偏置项。"),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("lora_bias",),
        visible_when=LORA_SHAPE,
    )
    use_rslora: bool = param(
        False,
        label=("Rank-stabilised LoRA", "秩稳定LoRA (rsLoRA)"),
        help=(
            "Scale by alpha / sqrt(r), so that high ranks learn too (Kalajdzievski 2023, arXiv:2312.03732).",
            "以 alpha / sqrt(r) 缩放，使高秩也能有效学习。",
        ),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        visible_when=LORA_SHAPE,
    )
    use_dora: bool = param(
        False,
        label=("DoRA", "权重分解LoRA (DoRA)"),
        help=(
            "Learn a weight's length apart from its direction: better at low ranks, slower (Liu et al. 2024, "
            "arXiv:2402.09353).",
            "将权重的模长与方向分开学习：低秩效果更好，速度更慢。",
        ),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        roles=(),
        visible_when=LORA_SHAPE,
    )
    merge_lora_after_training: bool = param(
        False,
        label=("Merge LoRA weights after training", "训练后合并LoRA权重"),
        help=(
            "Make a whole model of base and LoRA besides the LoRA itself.",
            "训练结束后，除 LoRA 外另存一份合并后的完整模型。",
        ),
        group=Group.LORA,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        aliases=("merge_adapter", "merge_after_training"),
        visible_when=LORA,
    )
    peft_config_path: str | None = param(
        None,
        label=("PEFT config path", "PEFT配置路径"),
        help=(
            "A JSON or YAML file of a peft `LoraConfig`; its values replace the LoRA parameters here.",
            "peft LoraConfig 的 JSON 或 YAML 文件，其值取代此处的 LoRA 参数。",
        ),
        group=Group.LORA,
        fold=Fold.OPTIONAL,
        roles={Role.ONE_TASK},
        aliases=("peft_config_file", "peft_config"),
        visible_when=LORA,
        path="always",
        min_length=1,
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
