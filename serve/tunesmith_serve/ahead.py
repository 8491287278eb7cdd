"""What a replica would wait for, done while Ray Serve is still being started: `python -m tunesmith_serve.ahead URI`.

Makes the model's file for llama.cpp, the adapter's that was asked for, and the library's tokenizer, where all processes
of the node look for them. Whoever comes meanwhile waits for it (`once`). Where it fails, a replica says why. Started by
the driver where there is one node, which is then the replica's too; it ends with it.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunesmith.chat.document import ChatDocument
from tunesmith.chat.wire import ServedModel
from tunesmith_jobs.document import read_bytes

_SET_PARENT_DEATH_SIGNAL = 1
_log = logging.getLogger("tunesmith_serve.ahead")


@contextlib.contextmanager
def begun(uri: str, nodes: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Have it done in a process of its own; what is left of that at the end of the block is ended.

    Args:
        uri: Of the attempt's document.
        nodes: As `ray.nodes()` tells of them. Where there are several nobody knows yet which one will serve.
    """
    if not uri or sum(bool(node.get("Alive", True)) for node in nodes) != 1:
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", __name__, uri], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        if process.returncode is None:
            process.kill()
            process.wait()


def base_of(document: ChatDocument) -> ServedModel:
    """The base that a document serves, as a question would name it."""
    return ServedModel(
        name=document.name,
        weights="",
        model_uri=document.model_uri,
        base_path=document.model_uri,
        is_adapter=False,
        training=document.training,
        encoder_path=document.encoder_path,
        tokenizer_path=document.tokenizer_path,
        file=document.file,
    )


def files(document: ChatDocument) -> None:
    """Make the files of the base and of what was asked for first."""
    from tunesmith_serve.choosing import not_llama_cpp
    from tunesmith_serve.gguf_files import GgufFiles

    base = Path(document.model_uri)
    if document.file is None and (document.spec.get("engine") == "transformers" or not_llama_cpp(base)):
        return
    with TemporaryDirectory() as scratch:
        made = GgufFiles(Path(document.cache_dir), Path(scratch))
        if document.file is not None:
            made.packaged(document.file)
            return
        made.model(base)
        if document.first is not None and document.first.is_adapter:
            made.adapter(document.first)


async def tokenizer(document: ChatDocument) -> None:
    """Make the library's tokenizer of what was asked for first."""
    from tunesmith_serve.prompts import Prompts

    prompts = Prompts(Path(document.cache_dir))
    try:
        await prompts.prepare(document.first or base_of(document))
    finally:
        await prompts.close()


async def _both(document: ChatDocument) -> None:
    done = await asyncio.gather(
        asyncio.to_thread(files, document), tokenizer(document), return_exceptions=True
    )
    for failure in done:
        if failure is not None:
            _log.warning("what a replica would wait for was not done ahead: %s", failure)


def main() -> None:
    """Do it for the document at the URI that is given."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() == 1:  # it was too late to be told
        return
    asyncio.run(_both(ChatDocument.model_validate_json(read_bytes(sys.argv[1]))))


if __name__ == "__main__":
    main()
