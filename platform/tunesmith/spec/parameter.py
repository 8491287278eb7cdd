"""The mechanism that declares a parameter once.

A parameter is a pydantic field made by `param`: its type and bounds are pydantic's, everything a form, a CLI flag or a
reference page needs besides (labels, group, fold, visibility, unit, aliases) travels with the field. `Spec` is the
base of every model made of such fields: it refuses unknown keys, maps aliases once, and keeps a notice of each.

Knows nothing of any single parameter.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidatorFunctionWrapHandler
from pydantic import model_validator as _model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from tunesmith.errors import InvalidInput, Problem, UnknownField

_KEY = "tunesmith"
_RULED_OUT = "ruled_out"


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


GROUP_LABELS: dict[Group, tuple[str, str]] = {
    Group.BASIC: ("Basic", "基本"),
    Group.DATA: ("Data", "数据"),
    Group.TRAINING: ("Training", "训练"),
    Group.LORA: ("LoRA", "LoRA"),
    Group.OPTIMIZATION: ("Optimization", "优化"),
    Group.DISTRIBUTED: ("Distributed", "分布式"),
    Group.LOGGING: ("Logging", "日志"),
    Group.GENERAL: ("General", "通用"),
}
"""English and Chinese title of each section."""

FOLD_LABELS: dict[Fold, tuple[str, str]] = {
    Fold.NONE: ("", ""),
    Fold.OPTIONAL: ("Optional", "可选参数"),
    Fold.ADVANCED: ("Advanced", "高级参数"),
    Fold.OPTIMIZATION: ("Optimization", "优化参数"),
    Fold.SAVE: ("Saving", "保存设置"),
    Fold.EVAL: ("Evaluation", "评估设置"),
}
"""English and Chinese title of what opens a fold."""


class Condition(BaseModel):
    """A parameter is shown, and has an effect, only while another one's value fits."""

    model_config = ConfigDict(frozen=True)
    field: str
    op: Literal["in", "not_in", "le", "gt", "ge", "contains"]
    value: Any

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of a spec's values."""
        actual = values[self.field]
        if self.op == "in":
            return actual in self.value
        if self.op == "not_in":
            return actual not in self.value
        if self.op == "contains":
            return self.value in actual
        if self.op == "ge":
            return bool(actual >= self.value)
        return bool(actual <= self.value) if self.op == "le" else bool(actual > self.value)

    def __str__(self) -> str:
        if self.op in {"in", "not_in"} and list(self.value) == [None]:
            return f"{self.field} is {'empty' if self.op == 'in' else 'given'}"
        words = {"in": "is", "not_in": "is not", "le": "<=", "gt": ">", "ge": ">=", "contains": "holds"}[
            self.op
        ]
        value = " or ".join(map(_written, self.value)) if isinstance(self.value, list | tuple) else self.value
        return f"{self.field} {words} {value}"


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


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


class DefaultRule(BaseModel):
    """The default of a parameter while others have certain values."""

    model_config = ConfigDict(frozen=True)
    when: tuple[Condition, ...]
    value: Any


class Refusal(BaseModel):
    """Why a value that others offer is not taken here, and what to use instead."""

    model_config = ConfigDict(frozen=True)
    reason: str
    hint: str


class Parameter(BaseModel):
    """What a form, a flag and a reference page know of a parameter besides its type and bounds."""

    model_config = ConfigDict(frozen=True)

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
    refused_values: dict[str, Refusal] = Field(default_factory=dict)
    default_when: tuple[DefaultRule, ...] = ()
    visible_when: tuple[Condition, ...] = ()
    offered_when: tuple[Condition, ...] = ()
    path: Literal["always", "if_exists", "unless_name"] | None = None

    def visible(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter has an effect among these values."""
        return all(condition.holds(values) for condition in self.visible_when)

    def default(self, values: Mapping[str, Any], otherwise: Any) -> Any:
        """What the parameter is among these values when the user gives none."""
        for rule in self.default_when:
            if all(condition.holds(values) for condition in rule.when):
                return rule.value
        return otherwise


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
    refused_values: Mapping[str, tuple[str, str]] | None = None,
    default_when: Sequence[tuple[tuple[Condition, ...], Any]] = (),
    visible_when: tuple[Condition, ...] = (),
    offered_when: tuple[Condition, ...] = (),
    path: Literal["always", "if_exists", "unless_name"] | None = None,
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
        refused_values: Values that others offer and we do not, each with the reason and what to do instead.
        default_when: Conditions with the default that holds under them; the first that fits counts.
        visible_when: Conditions under which it has an effect; all must hold.
        offered_when: Conditions of which one must hold for the form to show it; they say nothing of its effect.
        path: It names a file or folder: `always`, or `if_exists` where it may also be a name of something else, or
            `unless_name` where such a name holds neither `.` nor `/`.
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
        refused_values={
            value: Refusal(reason=reason, hint=hint)
            for value, (reason, hint) in (refused_values or {}).items()
        },
        default_when=tuple(DefaultRule(when=conditions, value=value) for conditions, value in default_when),
        visible_when=visible_when,
        offered_when=offered_when,
        path=path,
    )
    extra: dict[str, Any] = {_KEY: about.model_dump(mode="json", exclude_defaults=True)}
    if default_factory is not None:
        return Field(default_factory=default_factory, description=help[0], json_schema_extra=extra, **bounds)
    return Field(default, description=help[0], json_schema_extra=extra, **bounds)


def about(info: FieldInfo) -> Parameter:
    """What a field made by `param` carries."""
    # Asked some hundred times a submit. The field is kept beside it, so that its id is not given away.
    known = _ABOUT.get(id(info))
    if known is None:
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        known = _ABOUT[id(info)] = (info, Parameter.model_validate(extra[_KEY]))
    return known[1]


_ABOUT: dict[int, tuple[FieldInfo, Parameter]] = {}


class Notice(BaseModel):
    """Something we understood though it was said in another way, or that has no effect."""

    field: str
    message: str


def ruled_out(problems: Iterable[Problem]) -> PydanticCustomError:
    """What a validator raises for values that cannot be together: each problem with its parameter and cure."""
    found = list(problems)
    return PydanticCustomError(
        _RULED_OUT,
        "{words}",
        {
            "words": " ".join(problem.message for problem in found),
            "problems": [problem.model_dump() for problem in found],
        },
    )


def default_of(info: FieldInfo, values: Mapping[str, Any] | None = None) -> Any:
    """A parameter's default, among a spec's values if they are given; `None` where the choice is the user's."""
    if info.is_required():
        return None
    plain = info.get_default(call_default_factory=True)
    return plain if values is None else about(info).default(values, plain)


class Spec(BaseModel):
    """Base of every model made of parameters: unknown keys refused, other spellings mapped once with a notice."""

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
            and getattr(self, name) != default_of(info, self.__dict__)
        ]

    @classmethod
    def canonical(cls, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Notice]]:
        """The same values under the names that we use, with a notice of each that was spelled in another way.

        Nothing is checked but what stands in the way of mapping; nothing is filled in.

        Raises:
            InvalidInput: A parameter is given under two names, or with a value that we take from nobody.
        """
        try:
            return cls._canonical(data)
        except PydanticCustomError as error:
            problems = [Problem.model_validate(problem) for problem in (error.context or {})["problems"]]
            raise _as_error(InvalidInput, problems) from error

    @classmethod
    def _canonical(cls, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Notice]]:
        found, notices, problems = dict(data), list[Notice](), list[Problem]()
        for name, info in cls.model_fields.items():
            for alias in about(info).aliases:
                if alias not in found:
                    continue
                if name in found:
                    problems.append(_given_twice(alias, name))
                    continue
                found[name] = found.pop(alias)
                notices.append(Notice(field=name, message=f"`{alias}` was read as `{name}`."))
        cls._restructure(found, notices, problems)
        for name, info in cls.model_fields.items():
            if name not in found:
                continue
            given, parameter = found[name], about(info)
            if given is None and type(None) not in get_args(info.annotation):
                del found[name]  # others write what they leave open as null
            elif given is False and "no" in get_args(info.annotation):
                found[name] = "no"  # YAML reads a bare `no` as false
            elif isinstance(given, str) and given in parameter.value_aliases:
                found[name] = parameter.value_aliases[given]
                notices.append(Notice(field=name, message=f"`{given}` was read as `{found[name]}`."))
            elif isinstance(given, str) and given in parameter.refused_values:
                refusal = parameter.refused_values[given]
                problems.append(
                    Problem(field=name, message=f"`{name}={given}`: {refusal.reason}", hint=refusal.hint)
                )
        if problems:
            raise ruled_out(problems)
        return found, notices

    @classmethod
    def merged(cls, under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with others over them, however either spells them."""
        taken = cls._meant(over)
        found: dict[str, Any] = {}
        for spelling, value in under.items():
            meant = cls._meant({spelling: value})
            if meant.keys() & taken.keys():
                found |= {name: part for name, part in meant.items() if name not in taken}
            else:
                found[spelling] = value
        return found | dict(over)

    @classmethod
    def _meant(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `canonical`; what cannot be mapped stays as it is, to be refused when it is read."""
        try:
            return cls._canonical(given)[0]
        except PydanticCustomError:
            return dict(given)

    @classmethod
    def _restructure(cls, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        """Rewrite in place what others say in another structure; names were mapped before."""

    @_model_validator(mode="wrap")
    @classmethod
    def _map_spellings(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        notices: list[Notice] = []
        if isinstance(data, Mapping):
            data, notices = cls._canonical(data)
        spec: Self = handler(data)
        spec._notices = notices
        return spec

    @_model_validator(mode="after")
    def _fill_in_what_depends(self) -> Self:
        for name, info in type(self).model_fields.items():
            if name not in self.model_fields_set and about(info).default_when:
                self.__dict__[name] = default_of(info, self.__dict__)
        return self

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


def _given_twice(spelling: str, name: str) -> Problem:
    return Problem(
        field=name,
        message=f"`{spelling}` is another name of `{name}`: give only one of them.",
        hint=f"Leave out `{spelling}`.",
    )


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
        if item["type"] == _RULED_OUT:
            for inner in item["ctx"]["problems"]:
                where = ".".join(map(str, (*place, *([inner["field"]] if inner["field"] else ()))))
                problems.append(Problem(field=where or None, message=inner["message"], hint=inner["hint"]))
            continue
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
    return _as_error(UnknownField if unknown == len(problems) else InvalidInput, problems)


def _as_error(kind: type[InvalidInput], problems: list[Problem]) -> InvalidInput:
    first = problems[0]
    head = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return kind(head + more, hint=first.hint, problems=problems)
