"""Every parameter of an evaluation, declared once: a model, and the rows whose loss it is to say.

The rows are encoded and the loss is computed by the trainer's own code, so that the figure is the one that the
training reported of the same checkpoint. Knows parameters; knows nothing of how anything is measured.
"""

from typing import Literal

from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.model_task import ModelUseSpec, as_trained
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.roles import Role


class EvaluateSpec(ModelUseSpec):
    """Measure a model's loss on rows: perplexity and token accuracy, or accuracy and F1 of classes."""

    eval_file: str | None = param(
        None,
        label=("Evaluation data file path", "评估数据文件路径"),
        help=(
            "The rows: a path, a data set's name (`name@2`), or an earlier step. The evaluation file that the task was "
            "trained with when empty.",
            "评估数据：路径、数据集名称（name@2）或前一步的输出。留空使用训练任务的评估文件。",
        ),
        group=Group.DATA,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("dataset", "validation_file", "eval_dataset"),
        path="unless_name",
        min_length=1,
    )
    training_type: Literal["sft", "pretrain", "classification"] | None = as_trained("training_type")
    max_length: int | None = as_trained("max_length", ge=8, le=131_072)
    text_column: str | None = as_trained("text_column", min_length=1)
    prompt_column: str | None = as_trained("prompt_column", min_length=1)
    response_column: str | None = as_trained("response_column", min_length=1)
    system_column: str | None = as_trained("system_column", min_length=1)
    label_column: str | None = as_trained("label_column", min_length=1)
    allowed_bad_percent: float | None = as_trained("allowed_bad_percent", ge=0, le=100)
    per_device_eval_batch_size: int = param(
        8,
        label=("Evaluation batch size", "评估批次大小"),
        help=("Rows that are measured at once.", "每批评估的样本数。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        unit="rows",
        step=1,
        ge=1,
        le=128,
    )


EVALUATE = Kind(
    name="evaluate",
    label=("Evaluation", "评估"),
    spec=EvaluateSpec,
    behaviour="tunesmith_platform.tasks.kinds.evaluate:Evaluation",
    program="tunesmith_jobs.evaluate.program:Evaluation",
    room=Room.MODEL,
    supports=frozenset({Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-evaluator",
    next_step="Look at what it measured: `tunesmith tasks metrics TASK`.",
)
