"""Outside the rooms of the kinds no source says which kind a task is: a new one is three files, and no other edit.

What proves that it is enough is `tests/tunesmith_platform/test_toy_kind.py`, with a kind that lives in the tests.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.spec.kinds import kinds

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "platform/tunesmith",
    "platform/tunesmith_platform",
    "jobs/tunesmith_jobs",
    "serve/tunesmith_serve",
)
ROOMS = (
    "platform/tunesmith/spec/",
    "platform/tunesmith_platform/tasks/kinds/",
    *(
        f"jobs/tunesmith_jobs/{room}/"
        for room in ("train", "data", "evaluate", "generate", "package", "pull", "upload")
    ),
    "serve/tunesmith_serve/",
)
"""Where a kind may be named: its parameters, what the platform does with it, its program."""
EXAMPLES = "platform/tunesmith_platform/examples/"
"""What the API's description shows has to be of some kind."""
_CLASSES = {kind.spec.__name__ for kind in kinds().values()} | {"NewTrainTask", "NewDataTask", "ModelUseSpec"}
_DECLARATIONS = {name.upper() for name in kinds()}


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def places(source: str) -> list[tuple[int, str]]:
    """Each line and word by which a source asks which kind a task is: enum member, spec class, or string."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("tunesmith.spec"):
                found += [(node.lineno, name.name) for name in names if name.name in _DECLARATIONS]
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, classes]):
                found += [(node.lineno, name) for name in _names(classes) if name in _CLASSES]
            case ast.MatchClass():
                found += [(node.lineno, name) for name in _names(node.cls) if name in _CLASSES]
            case ast.Compare() if "kind" in set(_names(node)):
                found += [(node.lineno, repr(word)) for word in _kinds_as_strings(node)]
            case ast.keyword(arg="kind", value=ast.Constant(value=str(word))) if word in set(kinds()):
                found.append((node.value.lineno, repr(word)))
            case ast.Dict():
                found += [
                    (value.lineno, repr(value.value))
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "kind"
                    if isinstance(value, ast.Constant) and value.value in set(kinds())
                ]
    return sorted(found)


def _kinds_as_strings(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and inner.value in set(kinds()):
            yield str(inner.value)


def all_places() -> dict[str, list[tuple[int, str]]]:
    """Every file outside the rooms that asks, with its places."""
    files = sorted(file for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))
    found = {file.relative_to(ROOT).as_posix(): places(file.read_text("utf-8")) for file in files}
    return {path: asks for path, asks in found.items() if asks and not path.startswith(ROOMS)}


def test_no_source_asks_which_kind_a_task_is() -> None:
    """It asks the kind: what it supports (`Feature`), or what it does (`KindBehaviour`)."""
    found = {path: asks for path, asks in all_places().items() if not path.startswith(EXAMPLES)}
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from tunesmith.spec.training import TRAIN",
        "from tunesmith.spec.dataset import DATASET, DatasetSpec",
        "isinstance(a, NewDataTask)",
        "isinstance(a, EvaluateSpec | PackageSpec)",
        "match a:\n    case TrainSpec():\n        pass",
        "a = task.kind == 'dataset'",
        "a = kind not in ('train', 'package')",
        "f(kind='evaluate')",
        "{'kind': 'train', 'spec': {}}",
    ],
)
def test_each_way_to_ask_is_seen(source: str) -> None:
    """A way that is not seen would be taken."""
    assert places(source)


@pytest.mark.parametrize(
    "source",
    ["a = kind_of(word)", "split = 'train'", "isinstance(a, str)", "f(kind=kind)", "kind.supports"],
)
def test_what_names_no_kind_is_passed_over(source: str) -> None:
    """Words that are also a split's or a folder's are no question."""
    assert not places(source)


if __name__ == "__main__":
    for path, asks in all_places().items():
        for line, word in asks:
            print(f"{path}:{line}: {word}")
