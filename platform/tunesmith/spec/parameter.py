"""The mechanism that declares a parameter once.

A parameter is a pydantic field made by `param`: its type and bounds are pydantic's, everything a form, a CLI flag or a
reference page needs besides (labels, group, fold, visibility, unit, aliases) travels with the field, and so do its
roles: what it does, as far as caches, estimates and templates ask. `base.Spec` is the base of every model made of such
fields.

Knows nothing of any single parameter.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from tunesmith.spec.roles import ASSUMED, Role

_KEY = "tunesmith"


class Group(StrEnum):
    """The sections of the form."""

    BASIC = "basic"
    DATA = "data"
    TRAINING = "training"
    LORA = "lora"
    OPTIMIZATION = "optimization"
    LOGGING = "logging"
    GENERAL = "general"
    DISTRIBUTED = "distributed"


class Fold(StrEnum):
    """What a section hides until it is opened. `NONE` is always shown."""

    NONE = "none"
    OPTIONAL = "optional"
    ADVANCED = "advanced"
    OPTIMIZATION = "optimization"
    SAVE = "save"
    EVAL = "eval"


GROUP_LABELS: dict[Group, tuple[str, str]] = {
    Group.BASIC: ("Basics", "基本配置"),
    Group.DATA: ("Data", "数据配置"),
    Group.TRAINING: ("Training", "训练配置"),
    Group.LORA: ("LoRA", "LoRA配置"),
    Group.OPTIMIZATION: ("Optimization", "优化配置"),
    Group.LOGGING: ("Logging", "日志配置"),
    Group.GENERAL: ("General", "通用配置"),
    Group.DISTRIBUTED: ("Distribution", "分布式配置"),
}
"""English and Chinese title of each section."""

FOLD_LABELS: dict[Fold, tuple[str, str]] = {
    Fold.NONE: ("Common parameters", "常规参数"),
    Fold.OPTIONAL: ("Optional parameters", "可选参数"),
    Fold.ADVANCED: ("Advanced parameters", "高级参数"),
    Fold.OPTIMIZATION: ("Optimization parameters", "优化参数"),
    Fold.SAVE: ("Saving parameters", "保存参数"),
    Fold.EVAL: ("Evaluation parameters", "评估参数"),
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
        """As one writes it in code, which is the same in every language: `quantize=true`, `preset in (a, b)`."""
        if self.op == "contains":
            return f"{_written(self.value)} in {self.field}"
        if self.op in ("in", "not_in"):
            is_not = self.op == "not_in"
            if len(self.value) == 1:
                return f"{self.field}{'!=' if is_not else '='}{_written(self.value[0])}"
            return f"{self.field}{' not' if is_not else ''} in ({', '.join(map(_written, self.value))})"
        sign = {"le": "<=", "gt": ">", "ge": ">="}[self.op]
        return f"{self.field}{sign}{self.value}"


def _written(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


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


class Sentence(BaseModel):
    """A sentence in both languages."""

    model_config = ConfigDict(frozen=True)
    en: str
    zh: str


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
    path: Literal["always", "if_exists", "unless_name", "output"] | None = None
    choice_help: dict[str, Sentence] = Field(default_factory=dict)
    """What each choice does, by the choice as it is written."""
    advice: tuple[Sentence, ...] = ()
    """Which values suit which situation."""
    roles: frozenset[Role] | None = Field(None, exclude=True)
    """Ours alone, and not served; None where nobody has said them."""

    def has_role(self, role: Role) -> bool:
        """Whether it has a role; of one that says nothing of its roles, what is assumed."""
        return role in (ASSUMED if self.roles is None else self.roles)

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
    path: Literal["always", "if_exists", "unless_name", "output"] | None = None,
    choice_help: Mapping[str, tuple[str, str]] | None = None,
    advice: Sequence[tuple[str, str]] = (),
    roles: Collection[Role] | None = None,
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
            `unless_name` where such a name holds neither `.` nor `/`, or `output` where a relative one lies below the
            platform's own folder of outputs.
        choice_help: English and Chinese sentence of each choice, by the choice as it is written.
        advice: English and Chinese sentences: which values suit which situation.
        roles: What it does, as far as others ask; `()` for none of them.
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
        choice_help={choice: Sentence(en=en, zh=zh) for choice, (en, zh) in (choice_help or {}).items()},
        advice=tuple(Sentence(en=en, zh=zh) for en, zh in advice),
        roles=None if roles is None else frozenset(roles),
    )
    if default_factory is not None:
        bounds["default_factory"] = default_factory
    else:
        bounds["default"] = default
    return Field(description=help[0], json_schema_extra=_Carried(about), **bounds)


class _Carried:
    """Carries what is known of a parameter with its field, and writes it into the JSON Schema.

    Args:
        parameter: What is known.
    """

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter

    def __call__(self, schema: dict[str, Any]) -> None:
        schema[_KEY] = self.parameter.model_dump(mode="json", exclude_defaults=True)


def about(info: FieldInfo) -> Parameter:
    """What a field made by `param` carries."""
    carried = info.json_schema_extra
    assert isinstance(carried, _Carried)
    return carried.parameter


def aliases_of(info: FieldInfo) -> tuple[str, ...]:
    """Other spellings of a field's name; none of one that `param` did not make."""
    return about(info).aliases if isinstance(info.json_schema_extra, _Carried) else ()


def names_with(spec: type[BaseModel], *roles: Role) -> tuple[str, ...]:
    """The parameters that have one of these roles.

    Role by role as they are asked for, within a role as declared: keys on disk are made of names in this order.
    """
    fields = spec.model_fields.items()
    found = (name for role in roles for name, info in fields if about(info).has_role(role))
    return tuple(dict.fromkeys(found))


def default_of(info: FieldInfo, values: Mapping[str, Any] | None = None) -> Any:
    """A parameter's default, among a spec's values if they are given; `None` where the choice is the user's."""
    if info.is_required():
        return None
    plain = info.get_default(call_default_factory=True)
    return plain if values is None else about(info).default(values, plain)
