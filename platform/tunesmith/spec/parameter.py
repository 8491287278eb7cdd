"""The mechanism that declares a parameter once.

A parameter is a pydantic field made by `param`: its type and bounds are pydantic's, everything a form, a CLI flag or a
reference page needs besides (labels, group, fold, visibility, unit, aliases) travels with the field. `Spec` is the
base of every model made of such fields: it refuses unknown keys, maps aliases once, and keeps a notice of each.

Knows nothing of any single parameter.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidatorFunctionWrapHandler
from pydantic import model_validator as _model_validator
from pydantic.fields import FieldInfo

from tunesmith.errors import InvalidInput, Problem, UnknownField

_KEY = "tunesmith"


class Group(StrEnum):
    """The sections of the form."""

    BASIC = "basic"
    DATA = "data"
    TRAINING = "training"
    LORA = "lora"
    OPTIMIZATION = "optimization"
    DISTRIBUTED = "distributed"
    LOGGING = "logging"
    GENERAL = "general"


class Fold(StrEnum):
    """What a section hides until it is opened. `NONE` is always shown."""

    NONE = "none"
    OPTIONAL = "optional"
    ADVANCED = "advanced"
    OPTIMIZATION = "optimization"
    SAVE = "save"
    EVAL = "eval"


class Condition(BaseModel):
    """A parameter is shown, and has an effect, only while another one's value fits."""

    model_config = ConfigDict(frozen=True)
    field: str
    op: Literal["in", "not_in", "le", "gt"]
    value: Any

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of a spec's values."""
        actual = values[self.field]
        if self.op == "in":
            return actual in self.value
        if self.op == "not_in":
            return actual not in self.value
        return bool(actual <= self.value) if self.op == "le" else bool(actual > self.value)

    def __str__(self) -> str:
        words = {"in": "is", "not_in": "is not", "le": "<=", "gt": ">"}[self.op]
        value = " or ".join(map(repr, self.value)) if isinstance(self.value, list | tuple) else self.value
        return f"{self.field} {words} {value}"


def when(**allowed: Any) -> tuple[Condition, ...]:
    """Conditions that hold while every named field has (one of) the given value(s)."""
    return tuple(
        Condition(field=name, op="in", value=list(v) if isinstance(v, tuple) else [v])
        for name, v in allowed.items()
    )


def when_not(**refused: Any) -> tuple[Condition, ...]:
    """Conditions that hold while no named field has (one of) the given value(s)."""
    return tuple(
        Condition(field=name, op="not_in", value=list(v) if isinstance(v, tuple) else [v])
        for name, v in refused.items()
    )


class Parameter(BaseModel):
    """What a form, a flag and a reference page know of a parameter besides its type and bounds."""

    label_en: str
    label_zh: str
    help_en: str
    help_zh: str
    group: Group
    fold: Fold = Fold.NONE
    unit: str | None = None
    step: float | None = None
    ui_min: float | None = None
    ui_max: float | None = None
    aliases: tuple[str, ...] = ()
    value_aliases: dict[str, str] = Field(default_factory=dict)
    visible_when: tuple[Condition, ...] = ()

    def visible(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter has an effect among these values."""
        return all(condition.holds(values) for condition in self.visible_when)


def param(
    default: Any = ...,
    *,
    label: tuple[str, str],
    help: tuple[str, str],  # noqa: A002  (the field's standard word; never called as a function here)
    group: Group,
    fold: Fold = Fold.NONE,
    unit: str | None = None,
    step: float | None = None,
    ui: tuple[float, float] | None = None,
    aliases: Sequence[str] = (),
    value_aliases: Mapping[str, str] | None = None,
    visible_when: tuple[Condition, ...] = (),
    default_factory: Callable[[], Any] | None = None,
    **bounds: Any,
) -> Any:
    """Declare a parameter.

    Args:
        default: The value when the user gives none; absent where the choice is the user's.
        label: English and Chinese name in the form.
        help: English and Chinese explanation: what it does and when to change it.
        group: The form's section.
        fold: What hides it.
        unit: What a value counts (tokens, steps, rows, ...).
        step: The form's step.
        ui: The range that the form offers, where it is narrower than what the API takes.
        aliases: Other spellings of the name that are accepted, each with a notice.
        value_aliases: Other spellings of values.
        visible_when: Conditions under which it has an effect.
        default_factory: Makes a mutable default.
        bounds: pydantic's own (`ge`, `gt`, `le`, `lt`, `min_length`, ...).
    """
    about = Parameter(
        label_en=label[0],
        label_zh=label[1],
        help_en=help[0],
        help_zh=help[1],
        group=group,
        fold=fold,
        unit=unit,
        step=step,
        ui_min=ui[0] if ui else None,
        ui_max=ui[1] if ui else None,
        aliases=tuple(aliases),
        value_aliases=dict(value_aliases or {}),
        visible_when=visible_when,
    )
    extra: dict[str, Any] = {_KEY: about.model_dump(mode="json", exclude_defaults=True)}
    if default_factory is not None:
        return Field(default_factory=default_factory, description=help[0], json_schema_extra=extra, **bounds)
    return Field(default, description=help[0], json_schema_extra=extra, **bounds)


def about(info: FieldInfo) -> Parameter:
    """What a field made by `param` carries."""
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    return Parameter.model_validate(extra[_KEY])


class Notice(BaseModel):
    """Something we understood though it was said in another way, or that has no effect."""

    field: str
    message: str


class Spec(BaseModel):
    """Base of every model made of parameters: unknown keys refused, aliases mapped once with a notice."""

    model_config = ConfigDict(extra="forbid", validate_default=True)
    _notices: list[Notice] = PrivateAttr(default_factory=list)

    @property
    def notices(self) -> list[Notice]:
        """What was mapped on reading, and what has no effect."""
        return self._notices + [
            Notice(field=name, message=f"`{name}` has no effect: it needs {_unmet(about(info), self)}.")
            for name, info in type(self).model_fields.items()
            if name in self.model_fields_set
            and not about(info).visible(self.__dict__)
            and getattr(self, name) != info.get_default(call_default_factory=True)
        ]

    @_model_validator(mode="wrap")
    @classmethod
    def _map_aliases(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        notices: list[Notice] = []
        if isinstance(data, Mapping):
            data = dict(data)
            for name, info in cls.model_fields.items():
                parameter = about(info)
                for alias in parameter.aliases:
                    if alias not in data:
                        continue
                    if name in data:
                        raise ValueError(f"`{alias}` is another name of `{name}`: give only one of them")
                    data[name] = data.pop(alias)
                    notices.append(Notice(field=name, message=f"`{alias}` was read as `{name}`."))
                given = data.get(name)
                if isinstance(given, str) and given in parameter.value_aliases:
                    data[name] = parameter.value_aliases[given]
                    notices.append(Notice(field=name, message=f"`{given}` was read as `{data[name]}`."))
        spec: Self = handler(data)
        spec._notices = notices
        return spec

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read what a user gave.

        Raises:
            UnknownField: A key that is neither a parameter nor an alias, with a "did you mean".
            InvalidInput: A value of a wrong type or out of bounds, or parameters that rule each other out.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise invalid_input(error, cls) from error

    @classmethod
    def stored(cls, data: Mapping[str, Any]) -> Self:
        """Read what we stored ourselves: keys of another version are passed over."""
        return cls.model_validate(data, extra="ignore")


def _unmet(parameter: Parameter, spec: Spec) -> str:
    return " and ".join(str(c) for c in parameter.visible_when if not c.holds(spec.__dict__))


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that a location inside an error points into, as far as it is a plain field path."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # a union's tag, which is no field
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant."""
    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return close[0] if close else None


def _spellings(model: type[BaseModel]) -> dict[str, str]:
    spellings = {name: name for name in model.model_fields}
    if issubclass(model, Spec):
        for name, info in model.model_fields.items():
            spellings |= dict.fromkeys(about(info).aliases, name)
    return spellings


def invalid_input(error: ValidationError, model: type[BaseModel] | None, skip: int = 0) -> InvalidInput:
    """A pydantic error in our words: each problem with its place and its cure.

    Args:
        error: What pydantic raised.
        model: What was being read, for "did you mean".
        skip: Leading parts of each location that a user did not write (FastAPI's `body`).
    """
    return problems_error(error.errors(include_url=False), model, skip)


def problems_error(errors: Sequence[Any], model: type[BaseModel] | None, skip: int = 0) -> InvalidInput:
    """As `invalid_input`, from a list of pydantic's error dictionaries."""
    problems: list[Problem] = []
    unknown = 0
    for item in errors:
        place = tuple(item["loc"])[skip:]
        hint: str | None = None
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            unknown += 1
            message = f"`{place[-1]}` is not a known field."
            home = _model_at(model, place[:-1]) if model else None
            spellings = _spellings(home) if home else {}
            meant = did_you_mean(str(place[-1]), list(spellings))
            hint = (
                f"Did you mean `{spellings[meant]}`?" if meant else "`tunesmith parameters` lists them all."
            )
        elif isinstance(item.get("input"), str | int | float | bool):
            message = f"{message.rstrip('.')} (given: {item['input']!r})."
        problems.append(Problem(field=".".join(map(str, place)) or None, message=message, hint=hint))
    kind = UnknownField if unknown == len(problems) else InvalidInput
    first = problems[0]
    head = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return kind(head + more, hint=first.hint, problems=problems)
