"""What every step that uses a model is told: which model, where it computes, how often a lost job is done again.

A model is named by a folder, a name, or the task that trained it; exactly one of these. What a parameter of the
training decides, and is not given here, is as it was trained. Knows parameters; knows nothing of files.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from tunesmith.errors import Problem
from tunesmith.limits import MAX_COUNT
from tunesmith.spec import restarts
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.parameter import Fold, Group, about, names_with, param, when_not
from tunesmith.spec.problems import ruled_out
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec

_TASK_ID = re.compile(r"task-[0-9a-z]{18}")
AS_TRAINED = names_with(TrainSpec, Role.TEXT, Role.ROWS, Role.LENGTH, Role.NUMERICS)
"""The parameters of a training that decide how its model is loaded and how its rows are encoded."""


def as_trained(name: str, **bounds: Any) -> Any:
    """A parameter of the training under its own name; what the model was trained with where it is not given."""
    return as_in_training(name, (" As it was trained when empty.", "留空则与训练时相同。"), **bounds)


def as_in_training(name: str, more: tuple[str, str] = ("", ""), **bounds: Any) -> Any:
    """A parameter with the words of the training's of this name, empty when it is not given.

    Args:
        name: The training's parameter.
        more: What is added to its help, in English and Chinese.
        bounds: What it takes, and when it is shown.
    """
    said = about(TrainSpec.model_fields[name])
    return param(
        None,
        label=(said.label_en, said.label_zh),
        help=(said.help_en + more[0], said.help_zh + more[1]),
        group=said.group,
        fold=Fold.ADVANCED,
        unit=said.unit,
        aliases=said.aliases,
        value_aliases=said.value_aliases,
        path=said.path,
        choice_help={choice: (words.en, words.zh) for choice, words in said.choice_help.items()},
        advice=[(words.en, words.zh) for words in said.advice],
        roles=said.roles,
        **bounds,
    )


class ModelUseSpec(Spec):
    """What every step that uses a model has."""

    model_name_or_path: str | None = param(
        None,
        label=("Model", "模型"),
        help=(
            "The model to use: a folder (a whole model, or an adapter, which is laid over its base), the name of a "
            "pulled model, or what a trainer handed on (`${jobs.train.output}`).",
            "要使用的模型：目录（完整模型，或适配器，自动加载其基础模型）、已下载模型的名称，或训练步骤的输出。",
        ),
        group=Group.BASIC,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("model", "model_dir"),
        path="if_exists",
        min_length=1,
    )
    task_id: str | None = param(
        None,
        label=("Training task selection", "训练任务选择"),
        help=(
            "Use the model of this training task, instead of a folder.",
            "使用该训练任务的模型（代替模型目录）。",
        ),
        group=Group.BASIC,
        roles={Role.PLACE},
        min_length=1,
        max_length=40,
    )
    checkpoint: int | None = param(
        None,
        label=("Checkpoint selection", "检查点选择"),
        help=(
            "The step of the task's checkpoint; its final model when empty, or the newest checkpoint where there is "
            "none yet.",
            "任务检查点的步数；留空使用最终模型，若尚无则使用最新检查点。",
        ),
        group=Group.BASIC,
        roles={Role.PLACE},
        unit="steps",
        visible_when=when_not(task_id=None),
        ge=0,
        le=MAX_COUNT,
    )
    base_model_path: str | None = param(
        None,
        label=("Base model path", "基础模型路径"),
        help=(
            "The base of an adapter, where the adapter does not say or says it wrong. A task's is known.",
            "适配器的基础模型；适配器未注明或注明有误时填写。训练任务的基础模型自动识别。",
        ),
        group=Group.BASIC,
        fold=Fold.ADVANCED,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        path="if_exists",
        min_length=1,
    )
    chat_template: str | None = as_trained("chat_template", min_length=1)
    device: Literal["auto", "cpu", "gpu"] = param(
        "auto",
        label=("Device", "设备"),
        help=(
            "Where to compute. `auto` takes a GPU where the cluster has one.",
            "计算设备。auto：集群有 GPU 时使用 GPU。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] | None = as_trained("precision")
    max_restarts: int = restarts.max_restarts(
        ("How often a lost job is started again, from the beginning.", "作业丢失后自动从头重启的次数。")
    )

    @classmethod
    def _restructure(cls, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        given = found.get("model_name_or_path")
        if isinstance(given, str) and _TASK_ID.fullmatch(given) and "task_id" not in found:
            found["task_id"] = found.pop("model_name_or_path")
            notices.append(Notice(field="task_id", message=f"`{given}` was read as a task: `task_id`."))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := self._conflicts():
            raise ruled_out(problems)
        return self

    def _conflicts(self) -> list[Problem]:
        if (self.model_name_or_path is None) != (self.task_id is None):
            return []
        message = (
            "Which model to use is not given."
            if self.task_id is None
            else "`model_name_or_path` and `task_id` both name a model."
        )
        hint = "Write `model: ${jobs.<id>.output}`, a folder or a model's name, or `task_id: task-...`."
        return [Problem(field="model_name_or_path", message=message, hint=hint)]

    def as_training(
        self, trained: Mapping[str, Any], *, base: str, adapter: str | None, data: str
    ) -> TrainSpec:
        """The training whose model and rows these are: what loads the one and encodes the other.

        Args:
            trained: The parameters that the model was trained with; empty where nobody knows.
            base: The model, or an adapter's base.
            adapter: The adapter's folder.
            data: The rows.

        Raises:
            InvalidInput: What is given here contradicts how it was trained.
        """
        known = {name: trained[name] for name in AS_TRAINED if name in trained}
        given = {
            name: value
            for name in AS_TRAINED
            if name in type(self).model_fields and (value := getattr(self, name)) is not None
        }
        if "precision" in given:
            known |= {"bf16": False, "fp16": False}
        if adapter is None:
            known |= dict.fromkeys(names_with(TrainSpec, Role.QUANTIZES), False)
        found: dict[str, Any] = (
            known | given | {"model_name_or_path": base, "train_file": data, "device": self.device}
        )
        found |= {"use_lora": adapter is not None}
        if adapter is not None:
            found |= {"attach_lora": True, "attach_lora_path": adapter}
        return TrainSpec.read(found)
