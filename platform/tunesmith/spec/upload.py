"""Every parameter of uploading what a task made to a repository of the Hugging Face Hub, declared once.

Knows parameters; knows no hub.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from tunesmith.errors import Problem
from tunesmith.spec import restarts
from tunesmith.spec.base import Spec
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.problems import ruled_out
from tunesmith.spec.variables import variables_in

FROM_ENVIRONMENT = "${env.HF_TOKEN}"
"""Where the token is read from, where the task runs, if nothing else is said."""
REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"

_IN_NAMES = ("--", "..")
_BEHIND_NAMES = (".git", "-", ".")
_LONGEST_NAME = 96
"""Characters of a repository's name, its owner's with it."""
_IN_BRANCHES = ("..", "//", "/.")
_BEHIND_BRANCHES = (".lock", "/", ".")


def require_variable(token: str) -> None:
    """See that a token is the name of one variable of the environment.

    Raises:
        ValueError: It is written out: parameters are stored and shown.
    """
    variables = list(variables_in(token))
    is_one = len(variables) == 1 and variables[0].text == token
    if not is_one or variables[0].source != "env" or len(variables[0].path) != 1:
        raise ruled_out(
            [
                Problem(
                    field="token",
                    message="A token is never written out: parameters are stored and shown.",
                    hint=f"Write `token: {FROM_ENVIRONMENT}`; it is read where the task runs.",
                )
            ]
        )


def variable_of(token: str) -> str:
    """The variable of the environment that a parameter names, as `require_variable` has seen."""
    return next(iter(variables_in(token))).path[0]


class UploadSpec(Spec):
    """Upload a package, or a trained model, to a repository of the Hugging Face Hub or of a mirror of it."""

    task_id: str = param(
        label=("Task", "任务"),
        help=(
            "The task whose result is uploaded: a package, or a training with its final model.",
            "要上传其结果的任务：打包任务，或有最终模型的训练任务。",
        ),
        group=Group.BASIC,
        roles=(),
        aliases=("package", "model"),
        min_length=1,
        max_length=40,
    )
    repo_id: str = param(
        label=("Repository", "仓库"),
        help=(
            "`owner/name` on the Hub; it is made where there is none.",
            "Hub 上的 owner/name；不存在时自动创建。",
        ),
        group=Group.BASIC,
        roles=(),
        aliases=("repo", "repository"),
        pattern=REPOSITORY,
    )
    public: bool = param(
        False,
        label=("Public", "公开"),
        help=(
            "Whether everybody may see it. Otherwise the repository is made private, and one that is public already "
            "is refused.",
            "是否公开。默认创建私有仓库；若仓库已公开则拒绝上传。",
        ),
        group=Group.BASIC,
        roles=(),
    )
    revision: str | None = param(
        None,
        label=("Branch", "分支"),
        help=("The branch that is committed to; `main` when empty.", "提交到的分支，留空为 main。"),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
    )
    token: str = param(
        FROM_ENVIRONMENT,
        label=("Token", "访问令牌"),
        help=(
            "The variable of the jobs' environment that holds the token: `${env.HF_TOKEN}`. It is read where the "
            "upload runs and stored nowhere; where it is not set, the file that `HF_TOKEN_PATH` names is read.",
            "作业环境中保存令牌的变量，如 ${env.HF_TOKEN}；仅在上传时读取，不会保存。"
            "未设置时读取 HF_TOKEN_PATH 指定的文件。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        min_length=1,
        max_length=200,
    )
    max_restarts: int = restarts.max_restarts(
        (
            "How often a lost job is started again; what the Hub has already is not sent again.",
            "作业丢失后自动重启的次数；已上传的文件不会重传。",
        )
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_variable(self.token)
        if problems := list(self._misnamed()):
            raise ruled_out(problems)
        return self

    def _misnamed(self) -> Iterator[Problem]:
        """Names that the Hub, or git, refuses: said before anything is begun."""
        name, branch = self.repo_id, self.revision or ""
        parts = name.split("/")
        if (
            len(name) > _LONGEST_NAME
            or any(one in name for one in _IN_NAMES)
            or any(part.endswith(_BEHIND_NAMES) for part in parts)
        ):
            yield Problem(
                field="repo_id",
                message=f"The Hub takes no repository `{name}`.",
                hint="`owner/name`, at most 96 characters, without `--` and `..`, none of `-`, `.`, `.git` at the end.",
            )
        if any(one in branch for one in _IN_BRANCHES) or branch.endswith(_BEHIND_BRANCHES):
            yield Problem(
                field="revision",
                message=f"`{branch}` is no name of a branch.",
                hint="Without `..` and `//`, and no `/`, `.` or `.lock` at the end.",
            )

    @property
    def variable(self) -> str:
        """The variable of the environment that holds the token."""
        return variable_of(self.token)


UPLOAD = Kind(
    name="upload",
    label=("Upload", "上传"),
    spec=UploadSpec,
    behaviour="tunesmith_platform.tasks.kinds.upload:Uploading",
    program="tunesmith_jobs.upload.program:Uploading",
    room=Room.DATA,
    supports=frozenset({Feature.CLONE}),
    next_step="Look at the repository on the Hub.",
)
new_upload = UPLOAD.new
"""What is sent to upload a task's result."""
