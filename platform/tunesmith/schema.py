"""From a spec to everything drawn from it: JSON Schema with labels, groups, folds and visibility rules."""

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.limits import MAX_COUNT
from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import FOLD_LABELS, GROUP_LABELS, Fold, Group, Parameter, about, default_of
from tunesmith.spec.roles import Role

_STAYS = {"not_copied": Role.ONE_TASK, "not_in_templates": Role.PLACE}
"""What of a task does not go on into what is made of it, by the word that the form reads."""


class ParameterRow(BaseModel):
    """One parameter as a reference page or a form shows it."""

    name: str
    type: str
    required: bool
    default: Any
    choices: list[str] | None
    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None
    about: Parameter

    @property
    def bounds(self) -> str:
        """The accepted range in words, empty when there is none."""
        low = f">= {self.ge:g}" if self.ge is not None else f"> {self.gt:g}" if self.gt is not None else ""
        high = f"<= {self.le:g}" if self.le is not None else f"< {self.lt:g}" if self.lt is not None else ""
        return ", ".join(part for part in (low, high) if part)


def _options(annotation: Any) -> list[Any]:
    """What a value may be besides empty: the arms of a union, bare."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(bare) not in (Union, UnionType):
        return [bare]
    return [option for arm in get_args(bare) if arm is not NoneType for option in _options(arm)]


def _type_name(annotation: Any) -> tuple[str, list[str] | None]:
    options = _options(annotation)
    if options == [int, str]:
        return "integer or range", None
    if len(options) > 1:
        return " or ".join(_type_name(option)[0] for option in options), None
    (inner,) = options
    if str(get_origin(inner)) == "typing.Literal":
        return "choice", [str(choice) for choice in get_args(inner)]
    if get_origin(inner) is list:
        (item,) = get_args(inner)
        return "list", _type_name(item)[1]
    if get_origin(inner) is dict:
        return "object", None
    return {int: "integer", float: "number", bool: "boolean", str: "string"}[inner], None


def _bound(info: FieldInfo, name: str) -> float | None:
    found: float | None = next((getattr(item, name) for item in info.metadata if hasattr(item, name)), None)
    return None if found == MAX_COUNT else found  # nobody would meet it


def rows(spec: type[Spec]) -> list[ParameterRow]:
    """Every parameter of a spec, in the order of its declaration."""
    found = []
    for name, info in spec.model_fields.items():
        kind, choices = _type_name(info.annotation)
        found.append(
            ParameterRow(
                name=name,
                type=kind,
                required=info.is_required(),
                default=default_of(info),
                choices=choices,
                ge=_bound(info, "ge"),
                gt=_bound(info, "gt"),
                le=_bound(info, "le"),
                lt=_bound(info, "lt"),
                about=about(info),
            )
        )
    return found


def form_schema(spec: type[Spec]) -> dict[str, Any]:
    """A spec's JSON Schema with all that a form is drawn from.

    `groups` and `folds` name the sections in order, with their labels. Each property carries `tunesmith`: `kind`,
    labels, help, group, fold, unit, step, the range that the form offers, `choices`, its other spellings, whether a
    copy leaves it out (`not_copied`) and templates do (`not_in_templates`), when it has an effect (`visible_when`:
    all must hold), when the form offers it (`offered_when`: one must hold), and the defaults that depend on other
    parameters (`default_when`: the first that fits). Where somebody has written them, there is a sentence of each
    choice (`choice_help`) and which values suit which situation (`advice`), each as `en` and `zh`.
    """
    schema = spec.model_json_schema()
    found = rows(spec)
    for row in found:
        drawn = schema["properties"][row.name]
        if not row.required:
            drawn.setdefault("default", row.default)
        drawn["tunesmith"] |= {
            "kind": row.type,
            "required": row.required,
            "fold": row.about.fold.value,
            "ui_min": row.about.ui_min if row.about.ui_min is not None else row.ge,
            "ui_max": row.about.ui_max if row.about.ui_max is not None else row.le,
            "choices": row.choices,
        }
        drawn["tunesmith"] |= {word: True for word, role in _STAYS.items() if row.about.has_role(role)}
    groups = [group for group in Group if any(row.about.group is group for row in found)]
    schema["groups"] = _labelled((group.value, GROUP_LABELS[group]) for group in groups)
    schema["folds"] = _labelled((fold.value, FOLD_LABELS[fold]) for fold in Fold)
    return schema


def _labelled(names: Iterable[tuple[str, tuple[str, str]]]) -> list[dict[str, str]]:
    return [{"name": name, "label_en": label[0], "label_zh": label[1]} for name, label in names]
