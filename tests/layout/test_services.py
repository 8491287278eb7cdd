"""What endpoints and loops work with is said by protocols of their own; the bag of all parts has what each asks for.

FastAPI hands endpoints the bag as it is, so mypy cannot see that it fits.
"""

import importlib
import pkgutil
import typing

import pytest

import tunesmith_platform
from tunesmith_platform.services import Services

BAG = typing.get_type_hints(Services)
ASKING = [
    f"tunesmith_platform.{package.name}.endpoints"
    for package in pkgutil.iter_modules(tunesmith_platform.__path__)
    if package.ispkg and importlib.util.find_spec(f"tunesmith_platform.{package.name}.endpoints")
]


def test_every_noun_with_endpoints_was_found() -> None:
    assert len(ASKING) >= 14


@pytest.mark.parametrize("module", ASKING)
def test_the_parts_are_what_endpoints_ask_for(module: str) -> None:
    asked = typing.get_type_hints(importlib.import_module(module).Services)
    assert asked
    for name, kind in asked.items():
        given = BAG[name]
        if given is not kind:  # a protocol of the noun's own: every method that it asks for is there
            assert getattr(kind, "_is_protocol", False), f"{name}: {kind} is asked for, {given} is given"
            assert [
                method for method in vars(kind) if not method.startswith("_") and not hasattr(given, method)
            ] == []
