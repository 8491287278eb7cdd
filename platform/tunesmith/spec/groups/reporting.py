"""What a run tells, where to, and by which dice."""

from typing import Annotated, Any, Literal

from pydantic import StringConstraints, field_validator

from tunesmith.limits import MAX_SAMPLE_PROMPT
from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Condition, Fold, Group, param, when_not
from tunesmith.spec.roles import Role

Tracker = Literal["mlflow", "tensorboard", "wandb", "none"]
SamplePrompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SAMPLE_PROMPT)]
TO_WANDB = (Condition(field="report_to", op="contains", value="wandb"),)


class LoggingParameters(Spec):
    """Logs, measurements and trackers."""

    log_level: Literal["debug", "info", "warning", "error"] = param(
        "info",
        label=("Log level", "日志级别"),
        help=("Log lines below this level are not kept.", "低于该级别的日志不保留。"),
        group=Group.LOGGING,
        roles={Role.NO_STEP_COST},
    )
    logging_steps: int = param(
        10,
        label=("Logging steps", "日志记录步数"),
        help=("Record metrics every so many steps.", "每多少步记录一次指标。"),
        group=Group.LOGGING,
        roles={Role.NO_STEP_COST},
        unit="steps",
        step=1,
        ge=1,
        le=1000,
    )
    report_to: list[Tracker] = param(
        label=("Experiment tracker", "实验跟踪"),
        help=(
            "Where the curves go besides this platform; `none` stands alone. MLflow is always written where the "
            "platform has one, named here or not.",
            "除本平台外，训练曲线写入的位置；none 须单独使用。平台配有 MLflow 时始终写入 MLflow，无论此处是否选择。",
        ),
        group=Group.LOGGING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        default_factory=lambda: ["mlflow"],
        min_length=1,
    )
    wandb_project: str | None = param(
        None,
        label=("W&B project", "W&B 项目"),
        help=("The project at Weights & Biases.", "Weights & Biases 的项目名称。"),
        group=Group.LOGGING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        visible_when=TO_WANDB,
        min_length=1,
        max_length=128,
    )
    wandb_name: str | None = param(
        None,
        label=("W&B run name", "W&B 运行名"),
        help=("The run's name there; the task's name when empty.", "运行名称，留空使用任务名称。"),
        group=Group.LOGGING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        aliases=("run_name",),
        visible_when=TO_WANDB,
        min_length=1,
        max_length=128,
    )

    sample_prompts: list[SamplePrompt] | None = param(
        None,
        label=("Sample prompts", "示例提示"),
        help=(
            "Up to 8 prompts that the model answers at each evaluation and each checkpoint, by the likeliest token: in "
            "the log, MLflow and W&B. It changes no figure of the training.",
            "最多 8 条提示，每次评估与保存检查点时由模型作答（取概率最高的词元），"
            "记录在日志、MLflow 与 W&B 中；不改变训练数值。",
        ),
        group=Group.LOGGING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        visible_when=when_not(training_type="classification"),
        min_length=1,
        max_length=8,
    )
    sample_max_new_tokens: int = param(
        64,
        label=("Tokens of a sample answer", "示例回答的词元数"),
        help=("Tokens of each of these answers at most.", "每个示例回答最多生成的词元数。"),
        group=Group.LOGGING,
        fold=Fold.ADVANCED,
        roles={Role.NO_STEP_COST},
        unit="tokens",
        step=1,
        visible_when=when_not(sample_prompts=None),
        ge=1,
        le=512,
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _names_are_a_list(cls, value: Any) -> Any:
        found = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        return list(dict.fromkeys(found)) if isinstance(found, list) else found


class GeneralParameters(Spec):
    """What belongs to no other section."""

    seed: int = param(
        42,
        label=("Random seed", "随机种子"),
        help=(
            "The same seed, data and parameters give the same run.",
            "相同的种子、数据和参数得到相同的训练过程。",
        ),
        group=Group.GENERAL,
        roles={Role.NUMERICS},
        step=1,
        ui=(0, 999_999),
        aliases=("random_seed",),
        ge=0,
        le=2**32 - 1,
    )
