"""Every parameter of answering prompts with a model, declared once.

Knows parameters; knows nothing of how text is made.
"""

from tunesmith.errors import Problem
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.model_task import ModelUseSpec, as_in_training
from tunesmith.spec.parameter import Fold, Group, param, when_not
from tunesmith.spec.roles import Role
from tunesmith.spec.sampling import DRAWS, sampling

MAX_PROMPTS = 10_000


class GenerateSpec(ModelUseSpec):
    """Let a model answer prompts; the answers are rows of `messages`."""

    prompts: list[str] | None = param(
        None,
        label=("Prompts", "提示列表"),
        help=("What the model is asked, each by itself.", "逐条提问的内容。"),
        group=Group.DATA,
        roles={Role.TEXT},
        min_length=1,
        max_length=MAX_PROMPTS,
    )
    dataset: str | None = param(
        None,
        label=("Dataset", "数据集"),
        help=(
            "Rows whose system and user turns are asked, instead of `prompts`: a path, a data set's name, or an "
            "earlier step. Their answers are not shown to the model.",
            "代替 prompts：使用数据行中的系统与用户轮次提问（路径、数据集名称或前一步的输出），"
            "其中的回答不会提供给模型。",
        ),
        group=Group.DATA,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("eval_file",),
        path="unless_name",
        min_length=1,
    )
    prompt_column: str | None = as_in_training(
        "prompt_column", visible_when=when_not(dataset=None), min_length=1
    )
    system_prompt: str | None = param(
        None,
        label=("System prompt", "系统提示词"),
        help=(
            "Said before every conversation that brings no system turn of its own.",
            "在没有系统轮次的对话之前加入的系统提示词。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles={Role.TEXT},
        min_length=1,
        max_length=10_000,
    )
    max_new_tokens: int = sampling("max_new_tokens", 256, group=Group.BASIC)
    temperature: float = sampling("temperature", 0.0, group=Group.BASIC)
    top_p: float = sampling("top_p", 0.9, group=Group.BASIC, visible_when=DRAWS)
    seed: int = sampling("seed", 42, group=Group.BASIC, visible_when=DRAWS)
    per_device_eval_batch_size: int = param(
        8,
        label=("Batch size", "批次大小"),
        help=("Prompts that are answered at once.", "每批同时回答的提示数。"),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles=(),
        unit="rows",
        step=1,
        ge=1,
        le=128,
    )

    def _conflicts(self) -> list[Problem]:
        problems = super()._conflicts()
        if (self.prompts is None) == (self.dataset is None):
            message = (
                "There are no prompts."
                if self.prompts is None
                else "`prompts` and `dataset` exclude each other."
            )
            hint = "Write `prompts: [...]`, or `dataset: ${jobs.<id>.output}`."
            problems.append(Problem(field="prompts", message=message, hint=hint))
        empty = next((i for i, prompt in enumerate(self.prompts or []) if not prompt.strip()), None)
        if empty is not None:
            problems.append(
                Problem(
                    field=f"prompts[{empty}]",
                    message="The prompt is empty.",
                    hint="Write it, or leave it out.",
                )
            )
        return problems


GENERATE = Kind(
    name="generate",
    label=("Answers", "批量生成"),
    spec=GenerateSpec,
    behaviour="tunesmith_platform.tasks.kinds.generate:Generation",
    program="tunesmith_jobs.generate.program:Generation",
    room=Room.MODEL,
    supports=frozenset({Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-generator",
    next_step="Read its answers: the message says where they lie.",
    former=("chat",),  # its method in pipelines; the kind of that name serves models now
    former_component=("model-chat",),
)
