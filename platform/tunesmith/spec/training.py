"""Every parameter of a training task, declared once.

From here derive the API's validation, the CLI's flags, the form, the reference page, the stored JSON and the job's
argument. Names are Hugging Face's current ones; other spellings are aliases. Knows nothing of how training is done.
"""

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from tunesmith.spec.parameter import Condition, Fold, Group, Spec, param, when, when_not

LORA = when(use_lora=True)
EVALUATES = when_not(eval_strategy="no")
MAX_SAVED = 1000

SEVEN_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama-like block: the default LoRA targets."""

Precision = Literal["auto", "bf16", "fp16", "fp32"]


class TrainSpec(Spec):
    """What to train, on what, and how."""

    # --- basic
    training_type: Literal["sft"] = param(
        "sft",
        label=("Training type", "训练类型"),
        help=(
            "What the model learns from: `sft` trains on answers in conversations.",
            "训练方式：sft 表示有监督微调。",
        ),
        group=Group.BASIC,
        aliases=("task",),
    )
    device: Literal["auto", "cpu", "gpu"] = param(
        "auto",
        label=("Training device", "训练设备"),
        help=(
            "Where to train. `auto` takes a GPU where the cluster has one.",
            "训练设备。auto：集群有 GPU 时使用 GPU。",
        ),
        group=Group.BASIC,
    )
    # --- data
    model_name_or_path: str = param(
        label=("Training model path", "训练模型目录"),
        help=(
            "The base model: a folder with `config.json` and `*.safetensors`, or the name of a pulled model.",
            "基础模型：包含 config.json 与 *.safetensors 的目录，或已下载模型的名称。",
        ),
        group=Group.DATA,
        aliases=("model", "model_dir"),
        min_length=1,
    )
    train_file: str = param(
        label=("Training data file path", "训练数据文件路径"),
        help=(
            "JSONL or JSON rows: chat `messages`, or `instruction`/`input`/`output`.",
            "JSONL 或 JSON 数据：messages 对话，或 instruction/input/output。",
        ),
        group=Group.DATA,
        aliases=("training_file", "dataset", "train_data"),
        min_length=1,
    )
    eval_file: str | None = param(
        None,
        label=("(opt.) Evaluation data file path", "(可选)评估数据文件路径"),
        help=("Held-out rows of the same shape.", "同格式的评估数据。"),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        aliases=("validation_file", "eval_dataset"),
    )
    output_dir: str | None = param(
        None,
        label=("Training output directory", "训练输出目录"),
        help=(
            "Where checkpoints and the final model are published besides the platform's own storage. "
            "Must lie inside an allowed root.",
            "除平台存储外，检查点和最终模型的发布目录，必须位于允许的根目录内。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        aliases=("storage_path",),
    )
    max_samples: int = param(
        0,
        label=("Maximum samples", "最大样本数"),
        help=(
            "Train on at most so many rows, drawn by the seed; 0 takes all.",
            "最多使用的训练样本数，0 表示不限制。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIMIZATION,
        unit="rows",
        step=1,
        ui=(0, 100_000),
        aliases=("max_train_samples",),
        ge=0,
    )
    eval_sampling_ratio: float = param(
        0.0,
        label=("Evaluation sampling ratio", "评估集采样比例"),
        help=(
            "Share of the training rows that is held out for evaluation, drawn by the seed.",
            "从训练集中划分评估集的比例（按随机种子）。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIMIZATION,
        step=0.01,
        ui=(0, 0.5),
        aliases=("val_size", "split_ratio"),
        visible_when=when(eval_file=None),
        ge=0,
        le=0.9,
    )
    reshuffle_each_epoch: bool = param(
        False,
        label=("Reshuffle data", "是否重新打乱数据"),
        help=(
            "Draw a new order of rows every epoch; otherwise one seeded order serves all.",
            "每轮重新打乱数据；否则所有轮次使用同一随机顺序。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        aliases=("shuffle",),
    )
    # --- training
    per_device_train_batch_size: int = param(
        2,
        label=("Batch size", "批次大小"),
        help=(
            "Rows a worker takes at once. Halve it when memory runs out.",
            "每个进程一次处理的样本数，内存不足时减小。",
        ),
        group=Group.TRAINING,
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
        unit="batches",
        step=1,
        ge=1,
        le=256,
    )
    max_length: int = param(
        512,
        label=("Max sequence length", "最大序列长度"),
        help=(
            "Tokens of a row that are kept; the rest of a longer row is cut.",
            "每个样本保留的最大词元数，超出部分会被截断。",
        ),
        group=Group.TRAINING,
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
        ge=1e-6,
        le=1e-1,
    )
    optim: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"] = param(
        "adamw_torch",
        label=("Optimizer", "优化器"),
        help=("The rule that turns gradients into steps.", "优化算法。"),
        group=Group.TRAINING,
        aliases=("optimizer",),
    )
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"
    ] = param(
        "cosine",
        label=("LR scheduler type", "学习率调度器"),
        help=("How the learning rate changes over the run.", "学习率变化策略。"),
        group=Group.TRAINING,
    )
    num_train_epochs: float = param(
        2,
        label=("Training epochs", "训练轮数"),
        help=("How often every row is seen.", "遍历全部数据的次数。"),
        group=Group.TRAINING,
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
        unit="steps",
        step=1,
        ui=(-1, 100_000),
        ge=-1,
    )
    weight_decay: float = param(
        0.01,
        label=("Weight decay", "权重衰减"),
        help=("Pulls weights towards zero, against overfitting.", "防止过拟合的正则化系数。"),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
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
        step=0.01,
        visible_when=when(warmup_steps=0),
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
        unit="steps",
        step=1,
        ge=0,
        le=10_000,
    )
    max_grad_norm: float = param(
        1.0,
        label=("Max gradient norm", "最大梯度范数"),
        help=("Longer gradients are cut to this length; 0 turns it off.", "梯度裁剪阈值，0 表示不裁剪。"),
        group=Group.TRAINING,
        fold=Fold.ADVANCED,
        step=0.1,
        ge=0,
        le=10,
    )
    save_strategy: Literal["steps", "epoch", "no"] = param(
        "steps",
        label=("Save strategy", "保存策略"),
        help=(
            "When checkpoints are saved. The final one always is.",
            "检查点保存策略；无论如何都会保存最终检查点。",
        ),
        group=Group.TRAINING,
        fold=Fold.SAVE,
    )
    save_steps: int = param(
        100,
        label=("Save steps", "保存步数"),
        help=("Save every so many steps.", "每多少步保存一次。"),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        unit="steps",
        step=1,
        visible_when=when(save_strategy="steps"),
        ge=1,
        le=10_000,
    )
    save_total_limit: int = param(
        100,
        label=("Max saved checkpoints", "最大保存检查点"),
        help=("Older checkpoints beyond this many are removed.", "超过该数量时删除最旧的检查点。"),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        step=1,
        visible_when=when_not(save_strategy="no"),
        ge=1,
        le=MAX_SAVED,
    )
    eval_strategy: Literal["steps", "epoch", "no"] = param(
        "no",
        label=("Evaluation strategy", "评估策略"),
        help=("When the held-out loss is measured.", "评估时机。"),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        aliases=("evaluation_strategy",),
    )
    eval_steps: int = param(
        100,
        label=("Evaluation steps", "评估步数"),
        help=("Evaluate every so many steps.", "每多少步评估一次。"),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        unit="steps",
        step=1,
        visible_when=when(eval_strategy="steps"),
        ge=1,
        le=10_000,
    )
    per_device_eval_batch_size: int | None = param(
        None,
        label=("Evaluation batch size", "评估批次大小"),
        help=(
            "Rows a worker evaluates at once; empty takes the training batch size.",
            "评估批次大小，留空时与训练批次相同。",
        ),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        unit="rows",
        step=1,
        visible_when=EVALUATES,
        ge=1,
        le=128,
    )
    # --- lora
    use_lora: bool = param(
        True,
        label=("Use LoRA fine-tuning", "使用LoRA微调"),
        help=(
            "Train small added matrices instead of all weights (Hu et al. 2021, arXiv:2106.09685).",
            "只训练低秩附加矩阵，而非全部权重。",
        ),
        group=Group.LORA,
    )
    r: int = param(
        16,
        label=("LoRA r parameter", "LoRA的r参数"),
        help=(
            "Rank of the added matrices: more learns more and weighs more.",
            "LoRA 的秩，越大可学习参数越多。",
        ),
        group=Group.LORA,
        step=1,
        aliases=("lora_r", "lora_rank"),
        visible_when=LORA,
        ge=1,
        le=512,
    )
    lora_alpha: int = param(
        16,
        label=("LoRA alpha parameter", "LoRA的alpha参数"),
        help=("Scale of the added matrices; they count alpha / r.", "LoRA 缩放系数，实际缩放为 alpha / r。"),
        group=Group.LORA,
        step=1,
        visible_when=LORA,
        ge=1,
        le=1024,
    )
    lora_dropout: float = param(
        0.0,
        label=("LoRA dropout", "LoRA的dropout"),
        help=("Share of LoRA inputs dropped while training.", "训练时 LoRA 输入的随机丢弃比例。"),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        step=0.01,
        visible_when=LORA,
        ge=0,
        lt=1,
    )
    target_modules: list[str] = param(
        label=("LoRA target modules", "LoRA目标模块"),
        help=(
            "Names of the linear layers that get a LoRA; `all-linear` takes every one.",
            "应用 LoRA 的线性层名称；all-linear 表示全部线性层。",
        ),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        aliases=("lora_target_modules", "lora_target"),
        visible_when=LORA,
        default_factory=lambda: list(SEVEN_LINEAR),
        min_length=1,
    )
    bias: Literal["none", "all", "lora_only"] = param(
        "none",
        label=("LoRA bias", "LoRA偏置"),
        help=("Which bias vectors are trained too.", "同时训练哪些偏置项。"),
        group=Group.LORA,
        fold=Fold.ADVANCED,
        aliases=("lora_bias",),
        visible_when=LORA,
    )
    # --- optimization
    precision: Precision = param(
        "auto",
        label=("Precision", "计算精度"),
        help=(
            "Number format of the matrix products. `auto`: bf16 where the hardware computes it (AMX, AVX512-BF16, "
            "Ampere), else fp16 on a GPU, else fp32.",
            "计算精度。auto：硬件支持 bf16 时使用 bf16，否则 GPU 用 fp16，CPU 用 fp32。",
        ),
        group=Group.OPTIMIZATION,
        aliases=("compute_type",),
    )
    bf16: bool = param(
        False,
        label=("Use BF16 mixed precision (NVIDIA GPU)", "使用BF16混合精度(NVIDIA GPU)"),
        help=("Same as `precision=bf16`.", "等同于 precision=bf16。"),
        group=Group.OPTIMIZATION,
        visible_when=when(precision=("auto", "bf16")),
    )
    fp16: bool = param(
        False,
        label=("Use FP16 mixed precision", "使用FP16混合精度"),
        help=("Same as `precision=fp16`; needs a GPU.", "等同于 precision=fp16，需要 GPU。"),
        group=Group.OPTIMIZATION,
        visible_when=when(precision=("auto", "fp16")),
    )
    gradient_checkpointing: bool = param(
        True,
        label=("Gradient checkpointing", "梯度检查点"),
        help=(
            "Recompute activations instead of keeping them: less memory, about a third slower.",
            "以重新计算换取内存：占用更少，速度约慢三分之一。",
        ),
        group=Group.OPTIMIZATION,
        aliases=("activation_checkpointing",),
    )
    # --- distributed
    num_workers: int = param(
        1,
        label=("Number of workers (GPUs)", "训练节点进程数"),
        help=("Processes that train together.", "共同训练的进程数。"),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        step=1,
        aliases=("ray_num_workers", "num_gpus"),
        ge=1,
        le=1024,
    )
    resources_per_worker: dict[str, float] | None = param(
        None,
        label=("Resources per worker", "每进程资源"),
        help=(
            'Ray resources of a worker, as `{"CPU": 2}`; empty: one GPU, or an even share of a node\'s CPUs.',
            '每个进程的 Ray 资源，例如 {"CPU": 2}；留空：1 个 GPU 或平均分配的 CPU。',
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
    )
    max_restarts: int = param(
        3,
        label=("Maximum restarts", "最大重启次数"),
        help=(
            "How often a lost worker or job is started again from the last good checkpoint.",
            "进程或作业丢失后，从最近的有效检查点自动重启的次数。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        step=1,
        ge=0,
        le=100,
    )
    # --- logging
    log_level: Literal["debug", "info", "warning", "error"] = param(
        "info",
        label=("Log level", "日志级别"),
        help=("Log lines below this level are not kept.", "低于该级别的日志不保留。"),
        group=Group.LOGGING,
    )
    logging_steps: int = param(
        10,
        label=("Logging steps", "日志记录步数"),
        help=("Record metrics every so many steps.", "每多少步记录一次指标。"),
        group=Group.LOGGING,
        unit="steps",
        step=1,
        ge=1,
        le=1000,
    )
    # --- general
    seed: int = param(
        42,
        label=("Random seed", "随机种子"),
        help=(
            "The same seed, data and parameters give the same run.",
            "相同的种子、数据和参数得到相同的训练过程。",
        ),
        group=Group.GENERAL,
        step=1,
        ui=(0, 999_999),
        aliases=("random_seed",),
        ge=0,
        le=2**32 - 1,
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bf16 and self.fp16:
            raise ValueError("`bf16` and `fp16` exclude each other: set one of them, or `precision`.")
        for name in ("bf16", "fp16"):
            if getattr(self, name) and self.precision not in ("auto", name):
                raise ValueError(f"`{name}` contradicts `precision={self.precision}`: set only `precision`.")
        if self.eval_strategy != "no" and self.eval_file is None and self.eval_sampling_ratio == 0:
            raise ValueError(
                "`eval_strategy` needs rows to evaluate: give `eval_file` or `eval_sampling_ratio`."
            )
        if self.max_steps == 0:
            raise ValueError("`max_steps` is -1 (unlimited) or at least 1.")
        return self

    @property
    def chosen_precision(self) -> Precision:
        """The precision that was asked for, the two older switches included."""
        if self.bf16:
            return "bf16"
        return "fp16" if self.fp16 else self.precision

    @property
    def effective_batch_size(self) -> int:
        """Rows per optimizer step over all workers."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_workers
