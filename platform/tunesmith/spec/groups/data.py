"""Which model learns from which rows, and how rows are read."""

from tunesmith.limits import MAX_COUNT
from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role


class DataParameters(Spec):
    """The model, the data, and how a row becomes something to learn."""

    model_name_or_path: str = param(
        label=("Training model path", "训练模型目录"),
        help=(
            "The base model: a folder with `config.json` and `*.safetensors`, or the name of a pulled model.",
            "基础模型：包含 config.json 与 *.safetensors 的目录，或已下载模型的名称。",
        ),
        group=Group.DATA,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("model", "model_dir"),
        path="if_exists",
        min_length=1,
    )
    train_file: str = param(
        label=("Training data file path", "训练数据文件路径"),
        help=(
            "JSONL, JSON, CSV, Parquet or text: chat `messages`, ShareGPT, `instruction`/`input`/`output`, prompt and "
            "response, or `text`. A path, or a data set's name (`name@2` for its second version).",
            "JSONL、JSON、CSV、Parquet 或文本：messages 对话、ShareGPT、instruction/input/output、问答列或 text。"
            "可填路径，或数据集名称（name@2 表示第 2 个版本）。",
        ),
        group=Group.DATA,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME, Role.DATASET},
        aliases=("training_file", "dataset", "train_data"),
        path="unless_name",
        min_length=1,
    )
    eval_file: str | None = param(
        None,
        label=("(opt.) Evaluation data file path", "(可选)评估数据文件路径"),
        help=("Held-out rows of the same shape.", "同格式的评估数据。"),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST, Role.PLACE, Role.RESOLVED, Role.NAME, Role.DATASET},
        aliases=("validation_file", "eval_dataset"),
        path="unless_name",
    )
    output_dir: str | None = param(
        None,
        label=("Training output directory", "训练输出目录"),
        help=(
            "Where checkpoints and the final model are published besides the platform's own storage. "
            "A relative path lies below the platform's own folder of outputs; an absolute one inside an allowed root.",
            "除平台存储外，检查点和最终模型的发布目录。相对路径位于平台的 outputs 目录下，绝对路径须在允许的根目录内。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST, Role.PLACE, Role.ONE_TASK, Role.RESOLVED},
        aliases=("storage_path",),
        path="output",
    )
    tokenizer_name_or_path: str | None = param(
        None,
        label=("(opt.) Tokenizer path", "(可选)分词器路径"),
        help=(
            "A tokenizer other than the model's own: a folder, or the name of a pulled model.",
            "使用模型自带分词器之外的分词器：目录，或已下载模型的名称。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TOKENIZER, Role.KEYED_BY_CONTENT, Role.PLACE, Role.NAME},
        aliases=("tokenizer_path", "tokenizer"),
        path="if_exists",
        min_length=1,
    )
    resume_from_checkpoint: str | None = param(
        None,
        label=("(opt.) Checkpoint path for resume", "(可选)恢复训练检查点路径"),
        help=(
            "A checkpoint whose whole state is taken up: weights, optimizer, schedule and random numbers. Steps go on "
            "from it.",
            "从该检查点恢复完整状态（权重、优化器、调度器、随机数），步数继续累计。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST, Role.PLACE, Role.ONE_TASK},
        aliases=("from_checkpoint",),
        path="if_exists",
        min_length=1,
    )
    attach_lora: bool = param(
        False,
        label=("(Not recommended) Attach LoRA weights", "(不建议)附加LoRA权重"),
        help=(
            "Start from the weights of an existing LoRA and train them further; its own rank and targets count. Giving "
            "`attach_lora_path` turns it on.",
            "从已有 LoRA 权重开始继续训练，秩与目标模块以其自身配置为准；给出 attach_lora_path 时自动启用。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.PLACE, Role.ONE_TASK},
        default_when=[(when_not(attach_lora_path=None), True)],
        visible_when=when(use_lora=True),
    )
    attach_lora_path: str | None = param(
        None,
        label=("LoRA weights to attach", "附加的LoRA权重路径"),
        help=(
            "The folder of the LoRA: `adapter_config.json` and `adapter_model.safetensors`.",
            "LoRA 目录：包含 adapter_config.json 与 adapter_model.safetensors。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST, Role.PLACE, Role.ONE_TASK},
        aliases=("initial_adapter",),
        visible_when=when(attach_lora=True),
        path="if_exists",
        min_length=1,
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
        roles=(),
        unit="rows",
        step=1,
        ui=(0, 100_000),
        aliases=("max_train_samples",),
        ge=0,
        le=MAX_COUNT,
    )
    allowed_bad_percent: float = param(
        0.0,
        label=("Allowed share of bad rows", "允许跳过的坏数据比例"),
        help=(
            "Rows that cannot be trained on are left out and listed, up to this share of the file; 0 refuses the file "
            "at the first one.",
            "无法用于训练的数据行会被跳过并列出，最多占文件的该比例；0 表示遇到第一行坏数据即拒绝。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.ROWS},
        unit="%",
        step=0.5,
        ui=(0, 20),
        ge=0,
        le=100,
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
        roles=(),
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
        roles=(),
        aliases=("shuffle",),
    )
    dataloader_num_workers: int = param(
        1,
        label=("Data loader threads", "数据加载器线程数"),
        help=(
            "Processes that prepare batches ahead; 0 prepares them in the training process itself.",
            "提前准备批次的进程数，0 表示在工作进程内准备。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIMIZATION,
        roles=(),
        step=1,
        ge=0,
        le=16,
    )
    dataloader_pin_memory: bool = param(
        False,
        label=("Use locked page memory", "是否使用锁页内存"),
        help=(
            "Keep batches in memory that a GPU copies from faster.",
            "将批次放入锁页内存，GPU 拷贝更快。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIMIZATION,
        roles=(),
        visible_when=when_not(device="cpu"),
    )
    text_column: str | None = param(
        None,
        label=("Text column", "文本列"),
        help=(
            "The column that holds plain text; found by itself where it is called `text`.",
            "纯文本所在列；列名为 text 时自动识别。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT},
        aliases=("dataset_text_field",),
        min_length=1,
    )
    prompt_column: str | None = param(
        None,
        label=("Prompt column", "提示列"),
        help=(
            "The column that holds the user's words; common names are found by themselves.",
            "用户提问所在列；常见列名自动识别。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT},
        visible_when=when(training_type="sft"),
        min_length=1,
    )
    response_column: str | None = param(
        None,
        label=("Response column", "回答列"),
        help=(
            "The column that holds the answer to learn; common names are found by themselves.",
            "模型应学习的回答所在列；常见列名自动识别。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT},
        visible_when=when(training_type="sft"),
        min_length=1,
    )
    system_column: str | None = param(
        None,
        label=("System column", "系统提示列"),
        help=(
            "The column that holds the system prompt, if there is one.",
            "系统提示词所在列（如有）。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT},
        visible_when=when(training_type="sft"),
        min_length=1,
    )
    label_column: str | None = param(
        None,
        label=("Label column", "标签列"),
        help=(
            "The column that holds the class of a row; found by itself where it is called `label`.",
            "分类标签所在列；列名为 label 时自动识别。",
        ),
        group=Group.DATA,
        fold=Fold.OPTIONAL,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT},
        visible_when=when(training_type="classification"),
        min_length=1,
    )
    chat_template: str | None = param(
        None,
        label=("Chat template", "对话模板"),
        help=(
            "How a conversation becomes text: the tokenizer's own when empty, else the name of a built-in one or a "
            "Jinja file.",
            "对话转为文本的模板：留空使用分词器自带模板，否则为内置模板名称或 Jinja 文件。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles={Role.TEXT, Role.KEYED_BY_CONTENT, Role.NAME},
        aliases=("template", "chat_template_path"),
        visible_when=when(training_type="sft"),
        path="if_exists",
        min_length=1,
    )
    assistant_only_loss: bool = param(
        True,
        label=("Train on assistant replies only", "仅对助手回复计算损失"),
        help=(
            "Learn the assistant's words only; off: the whole conversation.",
            "仅学习助手回复；关闭后学习整段对话。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles={Role.TEXT},
        aliases=("completion_only_loss",),
        visible_when=when(training_type="sft"),
    )
