"""What everything that a user sends has in common: no unknown name, and numbers that are numbers.

Pydantic reads `true` as 1, and takes `NaN` where a number is asked for. Both come from mistakes, and both would train.
Knows pydantic's core schemas; knows nothing of any single parameter.
"""

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError(
            "number_is_boolean", "Input should be a number, and `true` and `false` are none"
        )
    return value


_INNER = frozenset(
    {"schema", "items_schema", "keys_schema", "values_schema", "lax_schema", "strict_schema"}
    | {"json_schema", "python_schema", "steps", "choices", "fields"}
)
"""Where a core schema holds others."""


def _careful(schema: Any) -> Any:
    """A copy of a schema in which no number takes a boolean; models inside it look after themselves."""
    if isinstance(schema, list | tuple):
        return type(schema)(_careful(item) for item in schema)
    if not isinstance(schema, dict) or schema.get("type") in ("model", "definition-ref"):
        return schema
    if schema["type"] == "function-before" and schema["function"].get("function") is _no_boolean:
        return schema  # pydantic asks again for a class whose schema it has
    is_choice_of_numbers = any(type(choice) is int for choice in schema.get("expected", ()))
    if schema["type"] in ("int", "float") or is_choice_of_numbers:
        return core_schema.no_info_before_validator_function(_no_boolean, cast(CoreSchema, schema))
    return _with_careful_parts(schema)


def _with_careful_parts(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {
        name: {key: _careful(part) for key, part in inner.items()}
        if name in ("fields", "choices") and isinstance(inner, dict)
        else _careful(inner)
        for name, inner in schema.items()
        if name in _INNER
    }


class Given(BaseModel):
    """Base of every model that a user fills in: unknown names are refused, and `true` where a number is asked for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The model's own schema, with a look at each number before it is read."""
        schema = handler(source)
        own: Any = handler.resolve_ref_schema(schema)
        while own["type"] != "model":  # validators of the whole model are round it
            own = own["schema"]
        own |= _with_careful_parts(own)
        return schema
