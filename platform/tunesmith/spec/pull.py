"""Every parameter of bringing a base model from a hub to the platform's models folder, declared once.

Knows parameters; knows no hub.
"""

from typing import Literal, Self

from pydantic import model_validator

from tunesmith.spec import restarts
from tunesmith.spec.base import Spec
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.upload import FROM_ENVIRONMENT, REPOSITORY, require_variable, variable_of


class PullSpec(Spec):
    """Bring a base model from a hub to the platform's models folder, where every task may start from it."""

    repo_id: str = param(
        label=("Model", "模型"),
        help=("`owner/name` on the hub.", "模型仓库中的 owner/name。"),
        group=Group.BASIC,
        roles=(),
        aliases=("model", "repo", "repository"),
        pattern=REPOSITORY,
    )
    revision: str | None = param(
        None,
        label=("Revision", "版本"),
        help=(
            "A branch, a tag or a commit; the newest of the main branch when empty.",
            "分支、标签或提交，留空为主分支的最新版本。",
        ),
        group=Group.BASIC,
        roles=(),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
    )
    hub: Literal["huggingface", "modelscope"] = param(
        "huggingface",
        label=("Hub", "模型仓库"),
        help=(
            "Where it comes from; `HF_ENDPOINT`, where jobs run, names a mirror of Hugging Face's.",
            "模型的来源；作业环境中的 HF_ENDPOINT 可指定 Hugging Face 的镜像。",
        ),
        group=Group.BASIC,
        roles=(),
        choice_help={
            "huggingface": ("The Hugging Face Hub, or a mirror of it.", "Hugging Face Hub 或其镜像。"),
            "modelscope": (
                "ModelScope; its package must be installed where jobs run.",
                "魔搭社区（ModelScope）；作业环境中须安装其软件包。",
            ),
        },
    )
    token: str = param(
        FROM_ENVIRONMENT,
        label=("Token", "访问令牌"),
        help=(
            "The variable of the jobs' environment that holds the token for a private or gated model. It is read "
            "where the model is pulled and stored nowhere; where it is not set, none is sent.",
            "作业环境中保存令牌的变量，用于私有或受限的模型；仅在下载时读取，不会保存。未设置时不发送令牌。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        min_length=1,
        max_length=200,
    )
    max_restarts: int = restarts.max_restarts(
        ("How often a lost job is started again.", "作业丢失后自动重启的次数。")
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_variable(self.token)
        return self

    @property
    def variable(self) -> str:
        """The variable of the environment that holds the token."""
        return variable_of(self.token)


PULL = Kind(
    name="pull",
    label=("Pull", "下载模型"),
    spec=PullSpec,
    behaviour="tunesmith_platform.tasks.kinds.pull:Pulling",
    program="tunesmith_jobs.pull.program:Pulling",
    room=Room.DATA,
    supports=frozenset({Feature.CLONE}),
    next_step="Train from it: `tunesmith train --model NAME`.",
)
new_pull = PULL.new
"""What is sent to pull a model."""
