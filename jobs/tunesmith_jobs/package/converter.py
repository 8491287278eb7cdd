"""A GGUF file by llama.cpp's own converter, for a model that is not written here: a program of its own, and bounded.

It is shown a folder made for it, in which no program of a model's lies: it may ask its library to run such ones. It
sees no secret of this process, and reaches the hub for nothing. What it writes is held against the model as every file
is. Knows how it is started; knows no proof.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import NotConvertible
from tunesmith.gguf import FileType, ModelPlan, Written
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.converter import OUT_TYPES
from tunesmith.gguf.tensors import Planned, stored_tensors
from tunesmith.gguf.tokenizer import vocabulary_of
from tunesmith.gguf.types import TensorType
from tunesmith.model_folder import read_config, weight_files
from tunesmith.removal import discard_file, part_of
from tunesmith.rows.chat.template import TEMPLATE_FILE

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_CHILD = Path(__file__).with_name("converter_child.py")
_LEAST_SECONDS, _BYTES_A_SECOND = 1800.0, 5e6
"""It may take half an hour, and of a large model as long as the slowest disk takes."""
_MOST_TIMES, _MOST_MORE = 2, 2**28
"""A file larger than so many times what the weights say, and its words, is none of this model."""
_LOOK_SECONDS = 0.25
_LAST_CHARACTERS = 1500
_log = logging.getLogger("tunesmith_jobs.package")

Tell = Callable[[str, int, int], None]
"""Takes what is written, bytes that are there, and of how many; what it raises ends the program."""


class Converter(NamedTuple):
    """The program, and why it is asked."""

    command: tuple[str, ...]
    why: str
    """What our own writer says of the model."""

    @property
    def name(self) -> str:
        """What it is called."""
        return Path(self.command[0]).name


def plan_converted(folder: Path, file_type: FileType) -> ModelPlan:
    """What its file will hold, as far as that is known before: as many numbers as the folder.

    Args:
        folder: The model, whole.
        file_type: What its matrices are to be stored as.

    Raises:
        NotConvertible: It writes no such file.
    """
    if file_type not in OUT_TYPES:
        listed = ", ".join(OUT_TYPES)
        raise NotConvertible(
            f"llama.cpp's converter writes {listed}, and no `{file_type}`.",
            hint="Take `F16`: `llama-quantize` makes the others of it.",
            field="quant_types",
        )
    tensors = tuple(
        Planned(
            name, one.shape, TensorType(file_type.value) if len(one.shape) > 1 else TensorType.F32, (one,)
        )
        for name, one in stored_tensors(weight_files(folder)).items()
    )
    template = folder / TEMPLATE_FILE
    said = {"tokenizer.chat_template": template.read_text(encoding="utf-8")} if template.is_file() else {}
    config, notices = read_config(folder), ()
    with contextlib.suppress(NotConvertible):  # its words may be known where its architecture is not
        notices = vocabulary_of(folder, folder, config, Given(config, {}).size("vocab_size")).notices
    return ModelPlan(str(config["model_type"]), dict(said), tensors, notices, {})


def convert(converter: Converter, folder: Path, target: Path, file_type: FileType, tell: Tell) -> Written:
    """Have a model's file written: all of it or nothing.

    Args:
        converter: The program.
        folder: A folder of our own making, with the whole model and its words.
        target: The file; must not be there yet.
        file_type: One of `OUT_TYPES`.
        tell: See `Tell`.

    Raises:
        NotConvertible: It does not write one, takes too long, or writes too much; with its last words.
        OSError: The disk does not take it, or the program does not start.
    """
    plan = plan_converted(folder, file_type)
    part, said = part_of(target), target.with_name(f".{target.name}.said")
    # Started through one of ours, which the system ends together with this process.
    command = [sys.executable, "-P", str(_CHILD), str(os.getpid()), *converter.command]
    command += [str(folder), "--outfile", str(part), "--outtype", OUT_TYPES[file_type]]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _OFFLINE
    _log.info("`%s` is started for `%s`: %s", converter.name, target.name, converter.why)
    try:
        with said.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
            try:
                _watch(process, part, plan.bytes, lambda done: tell(target.name, done, plan.bytes))
            finally:
                _end(process)
        if process.returncode or not part.is_file():
            raise _refused(converter, f"ended with {process.returncode}: {_last_words(said)}")
        size = part.stat().st_size
        part.replace(target)
        return Written(target, size, len(plan.tensors), ())
    finally:
        discard_file(part)
        discard_file(said)


def _watch(process: "subprocess.Popen[bytes]", part: Path, planned: int, tell: Callable[[int], None]) -> None:
    """Wait for its end, and see that it stays within its bounds.

    Raises:
        NotConvertible: It does not.
    """
    end = time.monotonic() + max(_LEAST_SECONDS, planned / _BYTES_A_SECOND)
    most = planned * _MOST_TIMES + _MOST_MORE
    while True:
        try:
            process.wait(_LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            size = part.stat().st_size if part.is_file() else 0
            tell(min(size, planned))
        if size > most:
            why = f"wrote {size / 1e9:.1f} GB of a model of {planned / 1e9:.1f} GB"
            raise NotConvertible(f"llama.cpp's converter {why}.", field="external_converter")
        if time.monotonic() > end:
            why = "did not come to an end in its time"
            raise NotConvertible(f"llama.cpp's converter {why}.", field="external_converter")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _refused(converter: Converter, what: str) -> NotConvertible:
    return NotConvertible(
        f"`{converter.name}` wrote no file; it {what}",
        hint="Use the model with transformers, as answers and evaluations do.",
        field="external_converter",
    )


def _last_words(said: Path) -> str:
    return said.read_bytes()[-_LAST_CHARACTERS:].decode(errors="replace").strip()
