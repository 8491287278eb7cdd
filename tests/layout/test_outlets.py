"""Whatever stands in for a job's outlet has all that jobs ask an outlet for: benches and scripts are seldom run."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TOLD_BY = {"superseded", "save_now"}
"""What no other class has."""


def _names(node: ast.ClassDef) -> set[str]:
    """Every attribute and property that a class gives itself."""
    found: set[str] = set()
    for inner in ast.walk(node):
        match inner:
            case ast.FunctionDef():
                found.add(inner.name)
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                found.add(inner.attr)
            case ast.Name(ctx=ast.Store()):
                found.add(inner.id)
    return found


def _classes(*folders: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield f"{file.relative_to(ROOT)}: {node.name}", node


def test_stand_ins_have_what_an_outlet_has() -> None:
    (outlet,) = [node for place, node in _classes("jobs") if place.endswith("outlet.py: Outlet")]
    wanted = _names(outlet)
    assert wanted >= _TOLD_BY
    stand_ins = {place: _names(node) for place, node in _classes("jobs", "infra", "tests")}
    found = {place: names for place, names in stand_ins.items() if names >= _TOLD_BY}
    assert len(found) > 5
    assert {place: wanted - names for place, names in found.items() if wanted - names} == {}
