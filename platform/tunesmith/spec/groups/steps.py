"""Batches, steps, the optimizer and its learning rate."""

from typing import Literal

from tunesmith.limits import MAX_COUNT
from tunesmith.spec.base import Spec
from tunesmith.spec.optimizers import OPTIMIZERS, Optimizer
from tunesmith.spec.parameter import Condition, Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role

Scheduler = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "warmup_stable_decay",
]
COLD_SCHEDULES = ("constant", "reduce_lr_on_plateau")
"""They begin at the full learning rate, whatever the optimizer could do by itself."""
WARMS_UP = when_not(lr_scheduler_type=COLD_SCHEDULES)
CLIPS = when_not(optim=tuple(name for name, needs in OPTIMIZERS.items() if needs.moves_in_backward))
"""These optimizers have used a gradient up before its length is known."""


class TrainingParameters(Spec):
    """How many rows a step takes, how many steps there are, and how far each goes."""

    per_device_train_batch_size: int = param(
        2,
        label=("Batch size", "批次大小"),
        help=(
            "Rows a worker takes at once. Halve it when memory runs out.",
            "每个进程一次处理的样本数，内存不足时减小。",
        ),
        group=Group.TRAINING,
        roles=(),
        unit="rows",
        step=1,
        aliases=("batch_size", "train_batch_size"),
        ge=1,
        le=128,
    )
    gradient_accumulation_steps: int = param(
        4,
        label=("Gradient accumulation steps", "梯度累积步数"),
        help=(
            "Batches added up before the weights move. Effective batch = batch size x this x workers.",
            "累积多少个批次后更新一次权重。有效批次 = 批次大小 × 本值 × 进程数。",
        ),
        group=Group.TRAINING,
        roles=(),
        unit="batches",
        step=1,
        ge=1,
        le=256,
    )
    shrink_batch_on_oom: bool = param(
        False,
        label=("Smaller batches when memory runs out", "内存不足时减小批次"),
        help=(
            "When a batch does not fit into memory, go on with half as many rows at once and as many a step. With one "
            "worker, and where the optimizer moves no weight before the step ends.",
            "批次超出内存时，每次处理的样本数减半、每步总样本数不变，然后继续训练。仅适用于单个进程，"
            "且优化器不在反向传播中更新权重。",
        ),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles=(),
    )
    max_length: int = param(
        512,
        label=("Max sequence length", "最大序列长度"),
        help=(
            "Tokens of a row that are kept; the rest of a longer row is cut.",
            "每个样本保留的最大词元数，超出部分会被截断。",
        ),
        group=Group.TRAINING,
        roles={Role.LENGTH},
        unit="tokens",
        step=8,
        ui=(128, 8192),
        aliases=("max_seq_length", "cutoff_len", "context_length"),
        ge=8,
        le=131_072,
    )
    learning_rate: float = param(
        2e-4,
        label=("Learning rate", "学习率"),
        help=(
            "How far the weights move a step. LoRA: 1e-4 to 5e-4; full fine-tuning: 1e-5 to 5e-5.",
            "参数更新步长。LoRA：1e-4～5e-4；全量微调：1e-5～5e-5。",
        ),
        group=Group.TRAINING,
        roles={Role.NO_STEP_COST},
        aliases=("lr",),
        default_when=[(when(training_type="pretrain"), 1e-4), (when(use_lora=False), 2e-5)],
        ge=1e-6,
        le=1e-1,
    )
    optim: Optimizer = param(
        "adamw_torch",
        label=("Optimizer", "优化器"),
        help=(
            "The rule that turns gradients into steps. `*_8bit` keep their state small, `paged_*` let it move to main "
            "memory, `galore_*`, `apollo_*` and `lomo` suit full fine-tuning in little memory.",
            "优化算法。*_8bit 状态占用小，paged_* 可换出到内存，galore_*、apollo_*、lomo 适合低显存全量微调。",
        ),
        group=Group.TRAINING,
        roles={Role.STATE},
        aliases=("optimizer",),
        value_aliases={
            "adamw_bnb_8bit": "adamw_8bit",
            "schedule_free_radamw": "schedule_free_radam",
            "stableadamw": "stable_adamw",
        },
        refused_values={
            "adamw_hf": ("transformers has removed it.", "Use `adamw_torch`, which computes the same."),
            "adamw_apex_fused": ("transformers has removed it.", "Use `adamw_torch_fused`."),
        },
    )
    lr_scheduler_type: Scheduler = param(
        "cosine",
        label=("LR scheduler type", "学习率调度器"),
        help=("How the learning rate changes over the run.", "学习率变化策略。"),
        group=Group.TRAINING,
        roles={Role.NO_STEP_COST},
        aliases=("lr_scheduler",),
    )
    num_train_epochs: float = param(
        2,
        label=("Training epochs", "训练轮数"),
        help=("How often every row is seen.", "遍历全部数据的次数。"),
        group=Group.TRAINING,
        roles={Role.NO_STEP_COST},
        unit="epochs",
        step=1,
        ui=(1, 100),
        aliases=("num_epochs", "n_epochs", "epochs"),
        visible_when=(Condition(field="max_steps", op="le", value=0),),
        gt=0,
        le=1000,
    )
    max_steps: int = param(
        -1,
        label=("Max training steps (-1=unlimited)", "最大训练步数(-1为不限制)"),
        help=(
            "Ends training after so many optimizer steps; wins over epochs.",
            "达到该步数即停止，优先于训练轮数。",
        ),
        group=Group.TRAINING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        unit="steps",
        step=1,
        ui=(-1, 100_000),
        ge=-1,
        le=MAX_COUNT,
    )
    packing: bool = param(
        False,
        label=("Sequence packing", "序列打包"),
        help=(
            "Put several short rows into one sequence of `max_length`; they do not see each other. Pre-training always "
            "packs.",
            "将多个短样本拼入同一序列，样本之间互不可见；预训练始终打包。",
        ),
        group=Group.TRAINING,
        fold=Fold.OPTIMIZATION,
        roles={Role.NUMERICS},
        visible_when=when(training_type="sft"),
    )
    weight_decay: float = param(
        0.01,
        label=("Weight decay", "权重衰减"),
        help=("Pulls weights towards zero, against overfitting.", "防止过拟合的正则化系数。"),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        step=0.001,
        ge=0,
        le=1,
    )
    warmup_ratio: float = param(
        0.1,
        label=("Warmup ratio", "预热比例"),
        help=("Share of all steps over which the learning rate rises.", "学习率预热阶段占总步数的比例。"),
        group=Group.TRAINING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        step=0.01,
        visible_when=when(warmup_steps=0) + WARMS_UP,
        ge=0,
        le=0.99,
    )
    warmup_steps: int = param(
        0,
        label=("Warmup steps", "预热步数"),
        help=(
            "Steps over which the learning rate rises; wins over the ratio.",
            "学习率预热步数，大于 0 时优先于预热比例。",
        ),
        group=Group.TRAINING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        unit="steps",
        step=1,
        visible_when=WARMS_UP,
        ge=0,
        le=10_000,
    )
    max_grad_norm: float = param(
        1.0,
        label=("Max gradient norm", "最大梯度范数"),
        help=("Longer gradients are cut to this length; 0 turns it off.", "梯度裁剪阈值，0 表示不裁剪。"),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles=(),
        step=0.1,
        ui=(0.1, 10),
        visible_when=CLIPS,
        ge=0,
        le=10,
    )
    num_cycles: int = param(
        2,
        label=("LR cosine annealing cycles", "学习率余弦退火周期"),
        help=(
            "How often the learning rate falls and starts again.",
            "学习率下降并重新开始的次数。",
        ),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        step=1,
        aliases=("lr_cosine_cycles",),
        visible_when=when(lr_scheduler_type="cosine_with_restarts"),
        ge=1,
        le=10,
    )
    min_lr: float = param(
        0.0,
        label=("Minimum learning rate", "最小学习率"),
        help=("Where the learning rate ends.", "学习率下降的终点。"),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        visible_when=when(lr_scheduler_type=("cosine_with_min_lr", "warmup_stable_decay")),
        ge=0,
        le=1e-2,
    )
    num_decay_steps: int | None = param(
        None,
        label=("LR decay steps", "学习率衰减步数"),
        help=(
            "Over how many of the last steps the learning rate falls; empty: a tenth of all.",
            "最后多少步内学习率下降，留空为总步数的十分之一。",
        ),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        unit="steps",
        step=1,
        visible_when=when(lr_scheduler_type="warmup_stable_decay"),
        ge=1,
        le=1_000_000,
    )
