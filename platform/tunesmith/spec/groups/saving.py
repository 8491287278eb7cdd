"""When a run saves, evaluates and ends early."""

from typing import Literal

from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Condition, Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role

EVALUATES = when_not(eval_strategy="no")
MAX_SAVED = 1000
_SCORED = when(evaluate_checkpoints=True)


class SavingParameters(Spec):
    """Checkpoints, evaluations, and what is made of them."""

    save_strategy: Literal["steps", "epoch", "best", "no"] = param(
        "steps",
        label=("Save strategy", "保存策略"),
        help=(
            "When checkpoints are saved; `best` saves when an evaluation is better than all before. The final one "
            "always is.",
            "检查点保存策略；best 在评估结果优于以往时保存。无论如何都会保存最终检查点。",
        ),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        roles={Role.NO_STEP_COST},
    )
    save_steps: int = param(
        100,
        label=("Save steps", "保存步数"),
        help=("Save every so many steps.", "每多少步保存一次。"),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        roles={Role.NO_STEP_COST},
        unit="steps",
        step=1,
        visible_when=when(save_strategy="steps"),
        ge=1,
        le=10_000,
    )
    save_total_limit: int = param(
        100,
        label=("Max saved checkpoints", "最大保存检查点"),
        help=(
            "Older checkpoints beyond this many are removed, never the best or a pinned one.",
            "超过该数量时删除最旧的检查点，最优和固定的除外。",
        ),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        roles={Role.NO_STEP_COST},
        step=1,
        visible_when=when_not(save_strategy="no"),
        ge=1,
        le=MAX_SAVED,
    )
    save_interval_minutes: int = param(
        30,
        label=("Save interval (minutes)", "保存间隔分钟"),
        help=(
            "Save also when so many minutes have passed since the last checkpoint; 0 turns it off.",
            "距上次保存超过该分钟数时额外保存一次，0 表示关闭。",
        ),
        group=Group.TRAINING,
        fold=Fold.SAVE,
        roles={Role.NO_STEP_COST},
        unit="minutes",
        step=1,
        ui=(0, 1440),
        aliases=("save_interval_min",),
        visible_when=when_not(save_strategy="no"),
        ge=0,
        le=1440,
    )
    eval_strategy: Literal["steps", "epoch", "no"] = param(
        "no",
        label=("Evaluation strategy", "评估策略"),
        help=("When the held-out loss is measured.", "评估时机。"),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
        aliases=("evaluation_strategy",),
        default_when=[(when_not(eval_file=None), "steps")],
        offered_when=(
            *when_not(eval_file=None),
            Condition(field="eval_sampling_ratio", op="gt", value=0),
        ),
    )
    eval_steps: int = param(
        100,
        label=("Evaluation steps", "评估步数"),
        help=("Evaluate every so many steps.", "每多少步评估一次。"),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
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
        roles=(),
        unit="rows",
        step=1,
        visible_when=EVALUATES,
        ge=1,
        le=128,
    )
    evaluate_checkpoints: bool = param(
        False,
        label=("Score checkpoints", "为检查点评分"),
        help=(
            "Let each saved checkpoint answer samples, in an evaluation of its own beside the training. Its scores "
            "become curves of the training.",
            "每个保存的检查点在独立的评估任务中回答样本，得分成为训练任务的曲线。",
        ),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
    )
    evaluation_sample_file: str | None = param(
        None,
        label=("Samples to score by", "评分样本文件"),
        help=(
            "What checkpoints are asked: a sample file, rows, a data set's name, or `default` for the samples that are "
            "brought along. The rows of `eval_file` when empty, else `default`.",
            "用于评分的样本：样本文件、数据行文件、数据集名称，或 default（内置样本）；"
            "留空时使用 eval_file，若无则使用内置样本。",
        ),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST, Role.PLACE, Role.RESOLVED, Role.NAME, Role.DATASET},
        path="unless_name",
        visible_when=_SCORED,
        min_length=1,
    )
    evaluation_max_samples: int = param(
        128,
        label=("Max samples to score by", "评分最大样本数"),
        help=(
            "At most so many samples a checkpoint. The fewer, the more of a curve is chance.",
            "每个检查点最多回答的样本数；越少，曲线的随机波动越大。",
        ),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
        unit="samples",
        step=1,
        ui=(5, 1000),
        visible_when=_SCORED,
        ge=5,
        le=10_000,
    )
    evaluation_max_new_tokens: int = param(
        256,
        label=("Max length of scored answers", "评分回答最大长度"),
        help=("Tokens of an answer at most.", "每个回答最多生成的词元数。"),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
        unit="tokens",
        step=1,
        ui=(32, 2048),
        visible_when=_SCORED,
        ge=1,
        le=8192,
    )
    metric_for_best_model: Literal[
        "eval_loss",
        "eval_perplexity",
        "eval_accuracy",
        "eval_f1",
        "composite",
        "similarity",
        "keyword_coverage",
        "format",
        "length",
        "rouge_l",
        "exact_match",
        "token_f1",
    ] = param(
        "eval_loss",
        label=("Best-checkpoint metric", "最优检查点指标"),
        help=(
            "What tells the best checkpoint, for `save_strategy=best` and early stopping; accuracy and F1 are of "
            "classification. `composite` and the names after it are scores of answers (`evaluate_checkpoints`).",
            "判定最优检查点的指标，用于 best 保存策略与早停；accuracy 与 f1 仅用于分类。"
            "composite 及其后各项为回答得分（需 evaluate_checkpoints）。",
        ),
        group=Group.TRAINING,
        fold=Fold.EVAL,
        roles={Role.NO_STEP_COST},
        default_when=[((*_SCORED, *when(eval_strategy="no")), "composite")],
        value_aliases={
            "loss": "eval_loss",
            "perplexity": "eval_perplexity",
            "accuracy": "eval_accuracy",
            "f1": "eval_f1",
        },
    )
    early_stopping_patience: int = param(
        0,
        label=("Early stopping patience", "早停耐心（评估次数）"),
        help=(
            "End the training after so many evaluations without improvement; 0 never does.",
            "早停步数：连续多少次评估没有改善后停止训练，0 表示不启用。",
        ),
        group=Group.TRAINING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        unit="evaluations",
        step=1,
        ge=0,
        le=100,
    )
    early_stopping_threshold: float = param(
        0.005,
        label=("Early stopping threshold", "早停阈值"),
        help=(
            "A smaller change of the metric is no improvement.",
            "指标变化小于该值不算改善。",
        ),
        group=Group.TRAINING,
        fold=Fold.OPTIONAL,
        roles={Role.NO_STEP_COST},
        step=0.001,
        ui=(0.001, 1),
        visible_when=(Condition(field="early_stopping_patience", op="gt", value=0),),
        ge=0,
        le=1,
    )
