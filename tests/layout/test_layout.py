"""Traps of this repository's shape, each with its reason."""

import ast
import importlib
import re
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


_NOT_AT_START = {
    "alembic", "jinja2", "mlflow", "numpy", "packaging", "prometheus_client", "pyarrow", "pygments", "ray", "rich",
    "smtplib", "tokenizers", "torch", "transformers", "typer",
}  # fmt: skip
"""What no request at start needs: imported inside the function that does."""


def test_the_api_starts_light(tmp_path: Path) -> None:
    """A killed API is away for as long as its start takes, which is imports for the most part."""
    code = (
        "import sys; from tunesmith_platform.app import create_app; "
        "from tunesmith_platform.settings import Settings; "
        f"create_app(Settings(home={str(tmp_path)!r})); "
        f"sys.exit(', '.join({_NOT_AT_START!r} & set(sys.modules)) or None)"
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


_OPENERS = {"from_pretrained", "from_config", "load_checkpoint_and_dispatch", "load_adapter"}
_PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
_ONE_PLACE = "jobs/tunesmith_jobs/models/reading.py"


def _opened(path: str) -> list[str]:
    """Where a source file lets a library open a stranger's file in a way that may run code."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            is_torchs = owner == "torch" and node.func.attr in ("load", "save")
            if is_torchs or node.func.attr in _OPENERS:
                found.append(f"{path}:{node.lineno} {owner}.{node.func.attr}")
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found += [f"{path}:{node.lineno} {name}" for name in names if name.split(".")[0] in _PICKLES]
    return found


def test_one_place_opens_what_a_stranger_may_have_written() -> None:
    """What a model's folder or a checkpoint holds must not lead to code: there every choice is made, once."""
    sources = [
        path
        for path in TRACKED
        if path.startswith(("jobs/", "platform/", "serve/"))
        and path.endswith(".py")
        and (ROOT / path).exists()
    ]
    assert _ONE_PLACE in sources
    assert len(_opened(_ONE_PLACE)) >= 4, "the test finds nothing any more"
    assert [line for path in sources if path != _ONE_PLACE for line in _opened(path)] == []


@pytest.mark.parametrize("page", ["CODEMAP.md", "CONTRIBUTING.md"])
def test_a_page_names_places_that_are_there(page: str) -> None:
    """A map that leads nowhere is worse than none."""
    named = re.findall(
        r"`((?:platform|jobs|serve|tests|infra|configs|findings)/[\w./]*)`", (ROOT / page).read_text()
    )
    assert len(named) > 3
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_no_source_is_longer_than_400_lines() -> None:
    """Nobody reads a longer one to its end before changing it, and then says in it again what it says already."""
    sources = [ROOT / path for path in TRACKED if path.endswith((".py", ".ts", ".tsx", ".sh"))]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources if path.exists()
    }
    assert len(lengths) > 500, "the test finds nothing any more"
    assert {path: length for path, length in lengths.items() if length > 400} == {}
