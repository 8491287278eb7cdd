"""A secret is read by `tunesmith.secret_values.named`: from a variable or its file, and from then on known."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OTHERWISE = {
    "jobs/tunesmith_jobs/evaluate/benchmarks.py": "What a process of its own has of ours.",
    "platform/tunesmith/language/__init__.py": "Which language is spoken.",
    "platform/tunesmith/proxies.py": "The variables of proxies.",
    "platform/tunesmith_platform/pipelines/runner.py": "What pipelines may read; tokens are read by jobs.",
}
"""Files that ask the environment for a name that they were given, with why."""


def test_what_a_user_names_is_read_by_one_function() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for folder in ("jobs", "platform", "serve")
        for file in (ROOT / folder).rglob("*.py")
        if _asks_for_what_it_is_given(ast.parse(file.read_text()))
    }
    assert found - OTHERWISE.keys() - {"platform/tunesmith/secret_values.py"} == set(), "use `named`"
    assert OTHERWISE.keys() <= found, "an exception that is none any more"


def _asks_for_what_it_is_given(tree: ast.Module) -> bool:
    """Whether it has `os.environ.get(name)` where the name is neither written out nor a constant of the module."""
    return any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("os.environ.get", "os.getenv")
        and not isinstance(node.args[0], ast.Constant)
        and not ast.unparse(node.args[0]).isupper()
        for node in ast.walk(tree)
    )
