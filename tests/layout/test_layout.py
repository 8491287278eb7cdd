"""Traps of this repository's shape, each with its reason."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()


def test_platform_is_no_package() -> None:
    """It would hide the standard library's `platform`; then pytest, pydantic and every Ray worker break."""
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert importlib.import_module("platform").system()


def test_tests_are_no_packages() -> None:
    """`tests/platform/__init__.py` alone would replace the standard module too."""
    assert [path for path in TRACKED if path.startswith("tests/") and path.endswith("__init__.py")] == []


def test_test_files_have_names_of_their_own() -> None:
    """Two test files of one name hide each other in reports."""
    names = [
        Path(path).name
        for path in TRACKED
        if path.startswith("tests/") and Path(path).name.startswith("test_")
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "module", ["tunesmith", "tunesmith.client", "tunesmith.cli.main", "tunesmith.spec.training"]
)
def test_the_contract_imports_light(module: str) -> None:
    """A command line that imports PyTorch takes six seconds to say `--help`."""
    code = (
        f"import sys, {module}; "
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'fastapi', 'sqlalchemy', 'pyarrow'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_control_plane_needs_no_torch() -> None:
    """Its image is built without it."""
    code = (
        "import sys, tunesmith_platform.app; "
        "sys.exit(', '.join({'torch', 'transformers', 'ray'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_of_one_machine_is_committed() -> None:
    """A path of somebody's machine works nowhere else."""
    words = ("/root/", "/home/" + "user")
    for path in TRACKED:
        file = ROOT / path
        if file.suffix in (".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", "") and file.is_file():
            text = file.read_text(errors="ignore")
            assert not any(word in text for word in words if path != "tests/layout/test_layout.py"), path


def test_pins_are_exact() -> None:
    """A range pulls several GB of CUDA packages on the day a new release appears."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line, line
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
