"""The reference pages say what the code says."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "infra" / "scripts" / "reference.py"
PAGES = {"lifecycle.md": "what the code says", "errors.md": "and more", "openapi.json": "{}"}


@pytest.mark.slow
def test_the_pages_in_the_repository_are_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with small pages: to make the real ones takes eight seconds."""
    monkeypatch.setattr(
        os, "environ", os.environ.copy()
    )  # it sets how wide a terminal is when it is imported
    spec = importlib.util.spec_from_file_location("reference_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "pages", lambda: dict(PAGES))
    return module


@pytest.mark.parametrize("spoil", ["change", "remove", "add"])
def test_a_stale_page_is_found_and_mended(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: str,
) -> None:
    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["reference.py", *words, "--folder", str(tmp_path)])
        try:
            script.main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    assert call() == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PAGES
    page = tmp_path / ("forgotten.md" if spoil == "add" else "lifecycle.md")
    if spoil == "remove":
        page.unlink()
    else:
        page.write_text("other")
    capsys.readouterr()
    assert call("--check") == 1
    assert capsys.readouterr().err.count("is stale") == 1
    assert page.exists() is (spoil != "remove"), "a check changes nothing"
    assert call() == 0
    assert page.name in capsys.readouterr().out
    assert call("--check") == 0
