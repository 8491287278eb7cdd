"""The base of every model made of parameters.

It refuses unknown keys, maps other spellings once with a notice of each, fills in the defaults that depend on other
parameters, and says what has no effect. Knows nothing of any single parameter.
"""

import functools
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, ValidatorFunctionWrapHandler
from pydantic import model_validator as _model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from tunesmith.errors import InvalidInput, Problem
from tunesmith.limits import MAX_TEXT
from tunesmith.spec.given import Given
from tunesmith.spec.parameter import Parameter, about, default_of
from tunesmith.spec.problems import as_error, invalid_input, ruled_out


class Notice(BaseModel):
    """Something we understood though it was said in another way, or that has no effect."""

    field: str
    message: str


class Spec(Given):
    """Base of every model made of parameters: unknown keys refused, other spellings mapped once with a notice."""

    model_config = ConfigDict(validate_default=True, str_max_length=MAX_TEXT)
    _notices: list[Notice] = PrivateAttr(default_factory=list)

    @property
    def notices(self) -> list[Notice]:
        """What was mapped on reading, and what has no effect."""
        given = self.model_fields_set
        return self._notices + [
            Notice(field=name, message=f"`{name}` has no effect unless {_unmet(about(info), self)}.")
            for name, info in type(self).model_fields.items()
            if name in given
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
            context = error.context or {}
            problems = [Problem.model_validate(problem) for problem in context["problems"]]
            raise as_error(InvalidInput, problems, more=context["more"]) from error

    @classmethod
    def _canonical(cls, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Notice]]:
        found, notices, problems = dict(data), list[Notice](), list[Problem]()
        spellings = _spellings(cls)
        if not found.keys().isdisjoint(spellings):
            for alias, name in spellings.items():
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
        taken = cls.meant(over)
        found: dict[str, Any] = {}
        for spelling, value in under.items():
            meant = cls.meant({spelling: value})
            if meant.keys() & taken.keys():
                found |= {name: part for name, part in meant.items() if name not in taken}
            else:
                found[spelling] = value
        return found | dict(over)

    @classmethod
    def meant(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `canonical`, without the notices; what cannot be mapped stays as it is, to be refused when it is read."""
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
        given = self.model_fields_set
        for name, info in _depending(type(self)).items():
            if name not in given:
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


# Both are asked at each reading, which each submit does: of a hundred parameters few have them.


@functools.cache
def _spellings(spec: type[Spec]) -> dict[str, str]:
    """What others call parameters, and what we do; in the order of the parameters."""
    return {alias: name for name, info in spec.model_fields.items() for alias in about(info).aliases}


@functools.cache
def _depending(spec: type[Spec]) -> dict[str, FieldInfo]:
    """The parameters whose defaults depend on others."""
    return {name: info for name, info in spec.model_fields.items() if about(info).default_when}


def _given_twice(spelling: str, name: str) -> Problem:
    return Problem(
        field=name,
        message=f"`{spelling}` is another name of `{name}`: give only one of them.",
        hint=f"Leave out `{spelling}`.",
    )


def _unmet(parameter: Parameter, spec: Spec) -> str:
    return ", ".join(f"`{c}`" for c in parameter.visible_when if not c.holds(spec.__dict__))
