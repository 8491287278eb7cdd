"""Strangers' files and texts are read by the workers alone (`tunesmith_platform.sandbox`), never by the API.

One file that takes long or grows must not hold or fill the process that everybody's requests go through.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLATFORM = Path(__file__).resolve().parents[2] / "platform" / "tunesmith_platform"
LIBRARIES = {
    "csv", "gzip", "jinja2", "pickle", "pyarrow", "safetensors", "tarfile", "tokenizers", "yaml", "zipfile",
}  # fmt: skip
READERS = {
    "tunesmith.evaluation.contamination": {"seen_in"},
    "tunesmith.evaluation.sample_edit": {"edited"},
    "tunesmith.evaluation.sample_file": {"entries_of"},
    "tunesmith.evaluation.samples": {"inspect_samples", "read_samples"},
    "tunesmith.model_folder": {
        "check_adapter_folder",
        "check_model_folder",
        "check_tokenizer_folder",
        "license_name",
        "read_safetensors_header",
    },
    "tunesmith.evaluation.recomputing": {"recompute"},
    "tunesmith.evaluation.report": {"answers_csv", "candidates_csv", "html"},
    "tunesmith.evaluation.scores.custom": {"read_scorers"},
    "tunesmith.rows.chat.prompts": {"asked_rows"},
    "tunesmith.rows.report.checking": {"check_file"},
    "tunesmith.rows.choosing": {"encoder_of"},
    "tunesmith.rows.tokens.encode_rows": {"encode_batch", "encode_file", "encode_rows", "first_trainable"},
    "tunesmith.rows.tokens.encoding": {"Encoder"},
    "tunesmith.rows.files.json_file": {"read_object"},
    "tunesmith.rows.report.preview": {"preview"},
    "tunesmith.rows.files.reading": {"RowFile"},
    "tunesmith.rows.files.detect_format": {"recognise"},
    "tunesmith.rows.shapes": {"shape_of"},
    "tunesmith.rows.chat.template": {"ChatTemplate", "find_special_tokens", "find_template", "template_of"},
    "tunesmith.rows.tokens.texts": {"TextEncoder"},
    "tunesmith.rows.tokens.tokenizer_file": {"load_tokenizer"},
    "tunesmith.rows.report.validation": {"validate"},
    "tunesmith.spec.pipeline": {"plan"},
    "tunesmith.spec.pipeline_file": {"read_pipeline"},
    "tunesmith.templates": {"from_yaml"},
}
MAY = {
    "sandbox/work.py": "it is what the workers do",
    "sandbox/result_work.py": "its functions are called by `sandbox/work.py`",
    "sandbox/count_tokens.py": "its functions are called by `sandbox/work.py`; the API has `Source` alone",
    "templates/builtin.py": "the files come with the platform",
    "admin/archive.py": "reads backups, in a command of who runs the platform; the API never does",
    "series/exporting.py": "writes our own curves, and reads nothing",
}


def readers_in(file: Path) -> Iterator[str]:
    """The names by which a module could read a stranger's file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in LIBRARIES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.partition(".")[0] in LIBRARIES:
                yield node.module
            known = READERS.get(node.module, set())
            yield from (f"{node.module}.{name.name}" for name in node.names if name.name in known)


@pytest.mark.parametrize(
    "file", sorted(PLATFORM.rglob("*.py")), ids=lambda file: str(file.relative_to(PLATFORM))
)
def test_the_api_reads_no_strangers_file(file: Path) -> None:
    place = str(file.relative_to(PLATFORM))
    found = list(readers_in(file))
    if place in MAY:
        assert found, f"`{place}` reads nothing any more: take it from the list."
    else:
        assert not found, f"`{place}` would read by itself; have `tunesmith_platform.sandbox.checks` asked."


def test_every_reader_is_there() -> None:
    """A name that was changed would be looked for in vain."""
    import importlib

    for module, names in READERS.items():
        assert not [name for name in names if not hasattr(importlib.import_module(module), name)], module


def test_the_api_does_not_load_the_libraries() -> None:
    """Nor does it hold what they hold."""
    code = (
        "import sys, tunesmith_platform.app; "
        "sys.exit(', '.join({'tokenizers', 'jinja2', 'pyarrow', 'tunesmith_platform.sandbox.work'} & set(sys.modules)) "
        "or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
