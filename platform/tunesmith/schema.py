"""From a spec to everything drawn from it: JSON Schema with labels, groups, folds and visibility rules."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.spec.parameter import Fold, Group, Parameter, Spec, about


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


def _without_none(annotation: Any) -> Any:
    options = [arg for arg in get_args(annotation) if arg is not type(None)]
    is_optional = len(options) < len(get_args(annotation)) and len(options) == 1
    return options[0] if is_optional else annotation


def _type_name(annotation: Any) -> tuple[str, list[str] | None]:
    inner = _without_none(annotation)
    if str(get_origin(inner)) == "typing.Literal":
        return "choice", [str(choice) for choice in get_args(inner)]
    if get_origin(inner) is list:
        return "list", None
    if get_origin(inner) is dict:
        return "object", None
    return {int: "integer", float: "number", bool: "boolean", str: "string"}[inner], None


def _bound(info: FieldInfo, name: str) -> float | None:
    return next((getattr(item, name) for item in info.metadata if hasattr(item, name)), None)


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
                default=None if info.is_required() else info.get_default(call_default_factory=True),
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
    """A spec's JSON Schema; each property carries `tunesmith`: labels, help, group, fold, step, visibility rule."""
    schema = spec.model_json_schema()
    schema["groups"] = [group.value for group in Group if any(row.about.group is group for row in rows(spec))]
    schema["folds"] = [fold.value for fold in Fold]
    return schema
