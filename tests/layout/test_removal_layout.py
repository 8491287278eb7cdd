"""Only `tunesmith.removal` removes what lies on a disk or in a storage: whoever else did would not ask whose it is."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("platform", "jobs", "serve")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ".venv" not in path.parts
]
REMOVES = frozenset(
    {
        "rmtree", "unlink", "rmdir", "removedirs", "delete_dir", "delete_dir_contents", "delete_root_dir_contents",
        "delete_file", "delete_object", "delete_objects", "remove_file",
    }
)  # fmt: skip
"""Calls that take something away, whatever they are called on."""
REPLACES = frozenset({"rename", "replace", "renames"})
"""Calls of one path on another: what has the new name is gone, where it is a file."""

ALLOWED = {
    "platform/tunesmith/removal/files.py": {"unlink", "replace"},
    "platform/tunesmith/removal/folders.py": {"rmtree", "unlink", "rmdir"},
    "platform/tunesmith/removal/results.py": {"unlink", "rename"},
    "platform/tunesmith/removal/stored.py": {"remove_file"},
    # The primitives: one file by its name, and folders without a file in them. `removal` asks before it calls them.
    "platform/tunesmith/storage.py": {"unlink", "delete_file", "delete_dir", "rename", "replace"},
    # An empty folder that `staged` has just made: `rmdir` removes no other.
    "jobs/tunesmith_jobs/models/pull.py": {"rmdir"},
    "jobs/tunesmith_jobs/artifact_store.py": {"rmdir", "rename"},
    # A small file of our own state, written beside its place and renamed over the older one.
    "platform/tunesmith/home.py": {"replace"},
    "jobs/tunesmith_jobs/package/importance.py": {"replace"},
    "platform/tunesmith_platform/embedded/starting.py": {"replace"},
    "platform/tunesmith_platform/embedded/record.py": {
        "replace",
        "unlink",
    },  # the note that its user ended it
    "platform/tunesmith_platform/estimates/speed.py": {"replace"},
    "jobs/tunesmith_jobs/alive.py": {"rename", "replace"},
    "jobs/tunesmith_jobs/train/telemetry/system.py": {"replace"},
    "jobs/tunesmith_jobs/document.py": {"replace"},
    "jobs/tunesmith_jobs/train/checkpoint/states.py": {"replace"},
    "jobs/tunesmith_jobs/spool.py": {"replace"},
    # A file that this call itself has begun, under a name of its own; it gets a name that nothing had.
    "jobs/tunesmith_jobs/package/gguf_files.py": {"rename"},  # within the attempt's own folder
    "platform/tunesmith/gguf/file.py": {"replace", "unlink"},
    "jobs/tunesmith_jobs/package/converter.py": {"replace"},
    # Its own logs, by their numbers; the last one goes.
    "platform/tunesmith_platform/embedded/rotating.py": {"replace"},
    # Into a place that is named by the hash of what it holds.
    "platform/tunesmith_platform/sandbox/token_counts.py": {"replace"},
    "jobs/tunesmith_jobs/batches/token_cache.py": {"replace"},
    "jobs/tunesmith_jobs/data/program.py": {"rename"},
    "serve/tunesmith_serve/prompts.py": {"rename"},
    "serve/tunesmith_serve/gguf_files.py": {"replace"},
    "platform/tunesmith_platform/datasets/service.py": {"rename", "replace"},
}
"""Who else calls what, each with its reason."""


def calls(source: Path) -> set[tuple[str, int]]:
    """The calls of a source that take something away, with their lines."""
    found: set[tuple[str, int]] = set()
    text = source.read_text()
    if not any(f"{name}(" in text for name in (*REMOVES, *REPLACES, "remove", "move")):
        return found
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        on = getattr(getattr(node.func, "value", None), "id", "")
        is_remove = name in REMOVES or (name in ("remove", "move", *REPLACES) and on in ("os", "shutil"))
        # Of a text and of a dataclass `replace` takes other arguments.
        is_replace = name in REPLACES and len(node.args) == 1 and not node.keywords and on != "dataclasses"
        if is_remove or is_replace:
            found.add((name, node.lineno))
    return found


def test_only_removal_removes() -> None:
    assert len(SOURCES) > 200
    stray = [
        f"{source.relative_to(ROOT)}:{line} {name}"
        for source in SOURCES
        for name, line in sorted(calls(source))
        if name not in ALLOWED.get(source.relative_to(ROOT).as_posix(), set())
    ]
    assert stray == [], "go through `tunesmith.removal`, which asks whose it is"


def test_the_list_of_who_else_does_is_not_longer_than_needed() -> None:
    for path, names in ALLOWED.items():
        assert {name for name, _ in calls(ROOT / path)} == names, path


def test_a_removal_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text(
        "shutil.rmtree(a)\nrmtree(a)\nos.remove(a)\na.unlink(missing_ok=True)\nfs.delete_dir(a)\nos.rename(a, b)\n"
        "a.replace(b)\ntext.replace('a', 'b')\nnames.remove(a)\n"
    )
    assert [line for _, line in sorted(calls(source), key=lambda item: item[1])] == [1, 2, 3, 4, 5, 6, 7]
