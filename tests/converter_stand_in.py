"""Stands in for llama.cpp's converter, as a program of its own: takes what that takes. No test itself.

`FOLDER --outfile FILE --outtype f16 [--behave HOW]`. It writes with our own writer, which the one that asks for it is
made not to have. `HOW` says what goes wrong: it `fails`, `hangs`, writes `scaled` weights, or a `huge` file; `--note`
takes what it sees.
"""

import argparse
import json
import os
import time
from pathlib import Path

import gguf_faults

from tunesmith.gguf import FileType, write_gguf


def _scaled(fields: gguf_faults.Fields, tensors: gguf_faults.Tensors) -> None:
    """The last norm, several times what it is."""
    data, kind = tensors["output_norm.weight"]
    tensors["output_norm.weight"] = data * 4, kind


def main() -> None:
    """Write a file, or do what is to go wrong."""
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--outfile", type=Path, required=True)
    asked.add_argument("--outtype", required=True)
    asked.add_argument("--behave", default="")
    asked.add_argument("--note", type=Path)
    given = asked.parse_args()
    if given.note:
        seen = {
            "files": sorted(file.name for file in given.folder.iterdir()),
            "environment": sorted(os.environ),
        }
        given.note.write_text(json.dumps(seen | {"pid": os.getpid()}))
    if given.behave == "fails":
        raise SystemExit("Model FooForCausalLM is not supported")
    if given.behave == "hangs":
        time.sleep(600)
    if given.behave == "huge":
        with given.outfile.open("wb") as file:
            file.truncate(2**34)  # none of it lies on the disk
        time.sleep(600)
    write_gguf(given.folder, given.outfile, FileType(given.outtype.upper()))
    if given.behave == "scaled":
        right = given.outfile.rename(given.outfile.with_suffix(".right"))
        gguf_faults.rewritten(right, given.outfile, _scaled)
        right.unlink()


if __name__ == "__main__":
    main()
