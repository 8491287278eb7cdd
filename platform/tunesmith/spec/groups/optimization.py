"""Number formats, memory and speed."""

from typing import Literal

from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role

QUANTISED = when(load_in_4bit=True)

Precision = Literal["auto", "bf16", "fp16", "fp32"]


class OptimizationParameters(Spec):
    """What saves memory or time."""

    precision: Precision = param(
        "auto",
        label=("Precision", "计算精度"),
        help=(
            "Number format of the matrix products. `auto`: bf16 where the hardware computes it (AMX, AVX512-BF16, "
            "Ampere), else fp16 on a GPU, else fp32.",
            "计算精度。auto：硬件支持 bf16 时使用 bf16，否则 GPU 用 fp16，CPU 用 fp32。",
        ),
        group=Group.OPTIMIZATION,
        roles={Role.NUMERICS},
        aliases=("compute_type",),
    )
    bf16: bool = param(
        False,
        label=("Use BF16 mixed precision (NVIDIA GPU)", "使用BF16混合精度(NVIDIA GPU)"),
        help=("Same as `precision=bf16`.", "等同于 precision=bf16。"),
        group=Group.OPTIMIZATION,
        roles={Role.NUMERICS},
        offered_when=when_not(device="cpu"),
        visible_when=when(precision=("auto", "bf16")),
    )
    fp16: bool = param(
        False,
        label=("Use FP16 mixed precision", "使用FP16混合精度"),
        help=("Same as `precision=fp16`; needs a GPU.", "等同于 precision=fp16，需要 GPU。"),
        group=Group.OPTIMIZATION,
        roles={Role.NUMERICS},
        offered_when=when_not(device="cpu"),
        visible_when=when(precision=("auto", "fp16")),
    )
    tf32: bool = param(
        False,
        label=("Use TF32 (NVIDIA GPU)", "使用TF32(NVIDIA GPU)"),
        help=(
            "Let an Ampere or newer GPU multiply 32-bit numbers in TF32: faster, a little less exact.",
            "允许 Ampere 及更新的 GPU 以 TF32 计算 32 位矩阵乘法：更快，精度略低。",
        ),
        group=Group.OPTIMIZATION,
        roles={Role.NUMERICS},
        visible_when=when_not(device="cpu"),
    )
    gradient_checkpointing: bool = param(
        True,
        label=("Gradient checkpointing", "梯度检查点"),
        help=(
            "Recompute activations instead of keeping them: less memory, about a third slower.",
            "以重新计算换取内存：占用更少，速度约慢三分之一。",
        ),
        group=Group.OPTIMIZATION,
        roles=(),
        aliases=("activation_checkpointing",),
    )
    load_in_4bit: bool = param(
        False,
        label=("Use QLoRA", "使用 QLoRA"),
        help=(
            "Keep the base model in 4 bits under a LoRA: a quarter of the memory, somewhat slower (Dettmers et al. "
            "2023, arXiv:2305.14314).",
            "以 4 位保存基础模型并训练 LoRA：显存约为四分之一，速度稍慢。",
        ),
        group=Group.OPTIMIZATION,
        roles={Role.NUMERICS, Role.QUANTIZES, Role.STATE},
        aliases=("use_qlora",),
        offered_when=when_not(device="cpu"),
        visible_when=when(use_lora=True),
    )
    load_in_8bit: bool = param(
        False,
        label=("Load base model in 8-bit", "以8位加载基础模型"),
        help=(
            "Keep the base model in 8 bits under a LoRA: half the memory.",
            "以 8 位保存基础模型并训练 LoRA：显存约为一半。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles={Role.NUMERICS, Role.QUANTIZES, Role.STATE},
        visible_when=when(use_lora=True, load_in_4bit=False),
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = param(
        "nf4",
        label=("4-bit quantization type", "4位量化类型"),
        help=(
            "`nf4` fits weights that are normally distributed, which they are.",
            "nf4 适合近似正态分布的权重，一般优于 fp4。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles={Role.NUMERICS, Role.STATE},
        visible_when=QUANTISED,
    )
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = param(
        "auto",
        label=("4-bit compute dtype", "4位计算精度"),
        help=(
            "Number format in which 4-bit weights are multiplied; `auto` is that of `precision`.",
            "4 位权重参与计算时的精度；auto 与 precision 相同。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles={Role.NUMERICS},
        value_aliases={
            "bf16": "bfloat16",
            "fp16": "float16",
            "fp32": "float32",
            "torch.bfloat16": "bfloat16",
            "torch.float16": "float16",
            "torch.float32": "float32",
        },
        visible_when=QUANTISED,
    )
    bnb_4bit_use_double_quant: bool = param(
        True,
        label=("Double quantization", "双重量化"),
        help=(
            "Quantise the scales of the 4-bit weights too: 0.4 bits a weight less.",
            "对量化系数再次量化，每个权重约省 0.4 位。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles={Role.NUMERICS, Role.STATE},
        visible_when=QUANTISED,
    )
    use_8bit_optimizer: bool = param(
        False,
        label=("Use 8-bit optimizers", "使用8-bit优化器"),
        help=(
            "Keep the optimizer's state in 8 bits: `adamw_torch` becomes `adamw_8bit`.",
            "以 8 位保存优化器状态：adamw_torch 变为 adamw_8bit。",
        ),
        group=Group.OPTIMIZATION,
        roles=(),
        offered_when=when_not(device="cpu"),
    )
    attn_implementation: Literal["auto", "sdpa", "flash_attention_2", "eager"] = param(
        "auto",
        label=("Attention implementation", "注意力实现"),
        help=(
            "Which code computes attention; `auto` takes the fastest that is there.",
            "注意力计算的实现；auto 选择可用的最快实现。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles={Role.NUMERICS},
        aliases=("flash_attention", "flash_attn"),
        value_aliases={"fa2": "flash_attention_2", "flash_attn_2": "flash_attention_2", "disabled": "eager"},
    )
    torch_compile: bool = param(
        False,
        label=("Compile the model", "编译模型"),
        help=(
            "Compile the model before the first step: about a minute at the start, then often faster steps.",
            "首步之前编译模型：启动约多一分钟，之后每步通常更快。",
        ),
        group=Group.OPTIMIZATION,
        fold=Fold.ADVANCED,
        roles=(),
    )
