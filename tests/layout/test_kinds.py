"""Where code asks which kind a task is: a list that may only shrink.

A new kind must be one room, not an edit in each of these files.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.spec.task import Kind

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "platform/tunesmith",
    "platform/tunesmith_platform",
    "jobs/tunesmith_jobs",
    "serve/tunesmith_serve",
)
ROOMS = ("platform/tunesmith/spec/", "platform/tunesmith_platform/kinds/")
"""Where a kind may be named."""
_ENUMS = {"Kind", "StepKind"}
_MEMBERS = {kind.name for kind in Kind}
_CLASSES = {
    "NewTask", "NewTrainTask", "NewDataTask", "NewModelTask", "TrainSpec", "EvaluateSpec", "GenerateSpec",
    "PackageSpec", "ModelUseSpec",
}  # fmt: skip
ALLOWED: dict[str, int] = {
    "jobs/tunesmith_jobs/model_entry.py": 1,
    "jobs/tunesmith_jobs/model_worker.py": 3,
    "jobs/tunesmith_jobs/train/core.py": 1,
    "platform/tunesmith/cli/estimate.py": 1,
    "platform/tunesmith/cli/train.py": 1,
    "platform/tunesmith/client/client.py": 3,
    "platform/tunesmith/model_step.py": 3,
    "platform/tunesmith/sdk.py": 2,
    "platform/tunesmith/templates.py": 1,
    "platform/tunesmith_platform/datasets/lineage.py": 1,
    "platform/tunesmith_platform/datasets/operations.py": 4,
    "platform/tunesmith_platform/datasets/repository.py": 1,
    "platform/tunesmith_platform/estimates/repository.py": 1,
    "platform/tunesmith_platform/examples/datasets.py": 1,
    "platform/tunesmith_platform/examples/pipelines.py": 2,
    "platform/tunesmith_platform/examples/tasks.py": 3,
    "platform/tunesmith_platform/mirror/service.py": 1,
    "platform/tunesmith_platform/model_tasks/resolve_model.py": 2,
    "platform/tunesmith_platform/model_tasks/service.py": 11,
    "platform/tunesmith_platform/pipelines/repository.py": 2,
    "platform/tunesmith_platform/pipelines/resolve_paths.py": 4,
    "platform/tunesmith_platform/pipelines/runner.py": 10,
    "platform/tunesmith_platform/quota/ledger.py": 1,
    "platform/tunesmith_platform/reconciler/facts.py": 1,
    "platform/tunesmith_platform/reconciler/loop.py": 4,
    "platform/tunesmith_platform/tasks/derive.py": 1,
    "platform/tunesmith_platform/tasks/repository.py": 3,
    "platform/tunesmith_platform/tasks/view.py": 4,
}
"""How often each file asks. Lower a number with the places that went; never raise one."""


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
            case ast.Attribute(value=ast.Name(id=enum), attr=member) if enum in _ENUMS and member in _MEMBERS:
                found.append((node.lineno, f"{enum}.{member}"))
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, classes]):
                found += [(node.lineno, name) for name in _names(classes) if name in _CLASSES]
            case ast.MatchClass():
                found += [(node.lineno, name) for name in _names(node.cls) if name in _CLASSES]
            case ast.Compare() if "kind" in set(_names(node)):
                found += [(node.lineno, repr(word)) for word in _kinds_as_strings(node)]
            case ast.keyword(arg="kind", value=ast.Constant(value=str(word))) if word in set(Kind):
                found.append((node.value.lineno, repr(word)))
            case ast.Dict():
                found += [
                    (value.lineno, repr(value.value))
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "kind"
                    if isinstance(value, ast.Constant) and value.value in set(Kind)
                ]
    return sorted(found)


def _kinds_as_strings(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and inner.value in set(Kind):
            yield str(inner.value)


def all_places() -> dict[str, list[tuple[int, str]]]:
    """Every file outside the rooms that asks, with its places."""
    files = sorted(file for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))
    found = {file.relative_to(ROOT).as_posix(): places(file.read_text("utf-8")) for file in files}
    return {path: asks for path, asks in found.items() if asks and not path.startswith(ROOMS)}


def test_no_more_places_ask_which_kind_a_task_is() -> None:
    """What is new asks the kind's own class; a place that went lowers its number here."""
    found = all_places()
    counts = Counter({path: len(asks) for path, asks in found.items()})
    differing = {
        path: found.get(path, []) for path in counts | ALLOWED if counts[path] != ALLOWED.get(path, 0)
    }
    assert not differing, f"{differing}: more than ALLOWED says must go, fewer lowers the number"


@pytest.mark.parametrize(
    "source",
    [
        "a = Kind.TRAIN",
        "a = {StepKind.PACKAGE: 1}",
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
    """A way that the list does not see would grow."""
    assert places(source)


@pytest.mark.parametrize(
    "source", ["a = Kind(word)", "split = 'train'", "isinstance(a, str)", "f(kind=kind)"]
)
def test_what_names_no_kind_is_not_counted(source: str) -> None:
    """Words that are also a split's or a folder's are no question."""
    assert not places(source)


if __name__ == "__main__":
    for path, asks in all_places().items():
        for line, word in asks:
            print(f"{path}:{line}: {word}")
