"""What the state in a checkpoint is of: parameters, base and classes that a run must share to go on from it.

Under another rank, scale, base or optimizer the numbers in a checkpoint mean something else, and training would go on
with another model without a word. Knows specs and files of a checkpoint; knows nothing of weights.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import InvalidInput, Problem
from tunesmith.spec.groups.lora import LORA_SHAPE
from tunesmith.spec.optimizers import chosen_optimizer
from tunesmith.spec.parameter import about, names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec

STATE_OF_FILE = "tunesmith_state_of.json"
"""In a checkpoint, beside its state."""

_SHAPE = {
    "r": 8,
    "lora_alpha": 8,
    "use_rslora": False,
    "use_dora": False,
    "bias": "none",
}
"""LoRA's shape by peft's names, which are ours, with the values that peft takes where its file holds none."""
_OF_NO_EFFECT = frozenset({
    "auto_mapping", "peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "megatron_config", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "ensure_weight_tying",
})  # fmt: skip
"""What of a peft `LoraConfig` does not decide which function the same matrices are: notes, and how they began."""
_TARGETS, _FILE = "target_modules", "peft_config_path"
_CURE = "or start from its weights with `attach_lora_path` or `model_name_or_path`: then the optimizer begins anew."


class StateOf(BaseModel):
    """What a run was, as far as its state depends on it."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Those with the role `STATE` that had an effect."
    )
    base_model: str | None = Field(
        None,
        description="`model_folder.weights_print` of the base under an adapter; None where all weights are saved.",
    )
    classes: list[str] | None = Field(None, description="The classes in the order of their numbers.")
    rows: int | None = Field(
        None, description="Tokens that the saved embedding has rows for, where one is saved."
    )

    @classmethod
    def of(
        cls,
        spec: TrainSpec,
        base_model: str | None = None,
        classes: list[str] | None = None,
        rows: int | None = None,
    ) -> "StateOf":
        """What a run with these parameters is."""
        form = type(spec)
        seen = {
            name: getattr(spec, name)
            for name in names_with(form, Role.STATE)
            if about(form.model_fields[name]).visible(spec.__dict__)
        }
        optimizer = chosen_optimizer(spec).removesuffix("_fused")  # the same state, computed in one go
        return cls(
            parameters=seen | {"optim": optimizer}, base_model=base_model, classes=classes or None, rows=rows
        )

    def encode(self) -> bytes:
        """As a checkpoint holds it."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes | None) -> "StateOf | None":
        """Read it; None where the checkpoint is older, or holds something else."""
        try:
            return cls.model_validate_json(data) if data is not None else None
        except ValidationError:
            return None

    def differences(self, saved: "StateOf") -> Iterator[Problem]:
        """Why a run that is this does not go on from a state of `saved`; what only one of them says is no reason."""
        for name, value in self.parameters.items():
            if name in saved.parameters and saved.parameters[name] != value:
                yield _problem(name, value, saved.parameters[name])
        if self.base_model and saved.base_model and self.base_model != saved.base_model:
            yield Problem(
                field="model_name_or_path",
                message="The checkpoint is an adapter of another base model: the weights of this one differ.",
                hint="Give the base that it was trained on, or start from the adapter with `attach_lora_path`.",
            )
        if self.rows and saved.rows and self.rows != saved.rows:
            yield Problem(
                field="model_name_or_path",
                message=f"The checkpoint's vocabulary was resized: its embedding has {saved.rows} rows, and the "
                f"model's {self.rows}.",
                hint="Give the base with its embedding resized so, saved as a folder, as the checkpoint's run had it.",
            )
        if self.classes and saved.classes and self.classes != saved.classes:
            yield Problem(
                field="train_file",
                message=f"The rows have the classes {_few(self.classes)}; the checkpoint was trained to tell "
                f"{_few(saved.classes)}.",
                hint=f"Give rows with its classes, {_CURE}",
            )


def shape_differences(
    wanted: Mapping[str, Any], saved: Mapping[str, Any], field: str | None = None
) -> Iterator[Problem]:
    """Why an adapter does not go on from the weights of another one.

    Which layers it has is not compared: the weights' own names say it better.

    Args:
        wanted: A peft `LoraConfig`, as JSON; what it leaves out is not compared.
        saved: The one in the checkpoint, as JSON.
        field: The parameter that gave it, where that was a file or an adapter.
    """
    for name in sorted(wanted.keys() - _OF_NO_EFFECT - {_TARGETS}):
        known = name in _SHAPE
        here, there = _plain(wanted[name]), _plain(saved.get(name, _SHAPE.get(name)))
        if here != there:
            yield _problem(
                name, wanted[name], saved.get(name, _SHAPE.get(name)), field or (None if known else _FILE)
            )


def target_difference(
    wanted: Mapping[str, Any], saved: Mapping[str, Any], field: str | None = None
) -> Problem | None:
    """The layers that two adapters have, where their weights were found to differ; None where they are the same."""
    here, there = _plain(wanted.get(_TARGETS)), _plain(saved.get(_TARGETS))
    return None if here == there else _problem(_TARGETS, here, there, field)


def wanted_shape(spec: TrainSpec) -> dict[str, Any] | None:
    """The adapter that the parameters alone ask for; None where another file or adapter says it."""
    is_shown = all(condition.holds(spec.__dict__) for condition in LORA_SHAPE)
    return {name: getattr(spec, name) for name in _SHAPE} if is_shown else None


def refuse(given: str, problems: list[Problem]) -> None:
    """Refuse to go on from a checkpoint that was saved under other parameters.

    Raises:
        InvalidInput: There is a problem.
    """
    if problems:
        raise InvalidInput(
            f"`{given}` cannot be gone on from: {problems[0].message}",
            hint=problems[0].hint,
            problems=problems,
        )


def _problem(name: str, wanted: Any, saved: Any, field: str | None = None) -> Problem:
    return Problem(
        field=field or name,
        message=f"`{name}` is {_shown(wanted)}; the checkpoint was trained with {_shown(saved)}.",
        hint=f"Give `{name}={_shown(saved)}`, {_CURE}" if field is None else f"Give the same, {_CURE}",
    )


def _plain(value: Any) -> Any:
    """Nothing, and nothing of something, are alike; the order of names says nothing."""
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(map(str, value)) or None
    return value or None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))[:200]
    return str(value).lower() if isinstance(value, bool) else str(value)[:100]


def _few(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:5]) + (" ..." if len(names) > 5 else "")
