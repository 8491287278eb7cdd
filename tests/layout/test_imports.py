"""Every name that is imported from our own packages is there, also where the import stands inside a function.

Such an import fails only when its line is reached: in a process on the cluster, in a test that takes long.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "jobs", "serve")
PACKAGES = ("tunesmith", "tunesmith_platform", "tunesmith_ui", "tunesmith_jobs", "tunesmith_serve")


def file_of(module: str) -> Path | None:
    """A module's file; of a package its `__init__.py`."""
    for source in SOURCES:
        place = ROOT / source / module.replace(".", "/")
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def bound(nodes: list[ast.stmt]) -> Iterator[str]:
    """The names that statements of a module bind, those below `if` and `try` too."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        else:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield inner.id
                elif isinstance(inner, ast.FunctionDef | ast.ClassDef):
                    yield inner.name
                elif isinstance(inner, ast.Import | ast.ImportFrom):
                    yield from (alias.asname or alias.name.split(".")[0] for alias in inner.names)


@cache
def names_of(file: Path) -> frozenset[str]:
    return frozenset(bound(ast.parse(file.read_text(encoding="utf-8")).body))


def missing(file: Path) -> Iterator[str]:
    """What a file imports of ours that is not there, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        if node.module.split(".")[0] not in PACKAGES:
            continue
        module = file_of(node.module)
        if module is None:
            yield f"{file.relative_to(ROOT)}:{node.lineno}: there is no module {node.module}"
            continue
        names = names_of(module)
        for alias in node.names:
            is_lazy = "__getattr__" in names  # a package that resolves names on first use
            if alias.name not in names and not is_lazy and file_of(f"{node.module}.{alias.name}") is None:
                yield f"{file.relative_to(ROOT)}:{node.lineno}: {node.module} has no {alias.name}"


def test_every_imported_name_is_there() -> None:
    files = [file for folder in (*SOURCES, "tests", "infra") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 500
    assert [found for file in files for found in missing(file)] == []


def test_the_look_sees_what_is_missing(tmp_path: Path) -> None:
    """A test that could not fail would be none."""
    module = next((ROOT / "platform/tunesmith").glob("errors.py"))
    assert "TunesmithError" in names_of(module)
    assert "NoSuchError" not in names_of(module)
    assert file_of("tunesmith.no_such_module") is None
