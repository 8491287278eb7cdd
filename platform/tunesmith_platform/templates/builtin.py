"""The templates that come with the platform: YAML files of `configs/templates`, which the wheel carries along."""

import functools
from pathlib import Path

from tunesmith.templates import TemplateView, from_yaml

_PLACES = (
    Path(__file__).parents[3] / "configs" / "templates",  # the repository
    Path(__file__).parents[1] / "configs" / "templates",  # an installed wheel
)


def folder() -> Path:
    """Where the files lie."""
    found = next((place for place in _PLACES if place.is_dir()), None)
    assert found is not None, "the package carries its templates"
    return found


@functools.cache
def builtins() -> dict[str, TemplateView]:
    """Every built-in template by its name, in the order of the files."""
    read = [from_yaml(file.read_text(encoding="utf-8")) for file in sorted(folder().glob("*.yaml"))]
    return {found.name: TemplateView(**found.model_dump(), builtin=True) for found in read}


def builtin_named(name: str) -> TemplateView | None:
    """The built-in template of a name, in capitals or not: `sft` is `SFT`. Its own spelling comes first."""
    own = builtins()
    return own.get(name) or next(
        (view for view in own.values() if view.name.casefold() == name.casefold()), None
    )
