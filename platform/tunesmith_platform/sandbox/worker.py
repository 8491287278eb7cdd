"""The worker process: binds itself, then does one piece of work after another until its pipe ends.

Run as `python -m tunesmith_platform.sandbox.worker PARENT NICENESS MEMORY_BYTES FILE_BYTES IS_AWAITED`. Its limits are
the kernel's, and hold when the API is gone; how much one piece of work may take, the API watches too.
"""

import ctypes
import gc
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1
_ADDRESS_SPACE = 4 * 2**30
"""Libraries reserve more than they use."""
_OPEN_FILES = 256
_SPARE_SECONDS = 5
_WORDS = 4000


def _end_with(parent: int) -> None:
    """Have the system end this process with the API, whatever it is busy with."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _bind(memory_bytes: int, file_bytes: int) -> None:
    """Take the limits; none can be raised again."""
    for what, limit in (
        (resource.RLIMIT_AS, 2 * memory_bytes + _ADDRESS_SPACE),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (lower, lower))


def main() -> None:
    """Work until the API ends or closes the pipe."""
    parent, niceness, memory_bytes, file_bytes, is_awaited = (int(argument) for argument in sys.argv[1:])
    if not is_awaited:
        os.nice(niceness)
    _end_with(parent)
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what a library prints is no answer
    from tunesmith_platform.sandbox import process, work

    work.prepare()
    gc.freeze()
    if is_awaited:
        os.nice(niceness)
    _bind(memory_bytes, file_bytes)

    def say(kind: bytes, body: bytes) -> None:
        answers.write(process.HEAD.pack(kind, len(body)) + body)
        answers.flush()

    say(process.READY, b"")
    while head := orders.read(process.HEAD.size):
        order = json.loads(orders.read(process.HEAD.unpack(head)[1]))
        # The kernel ends what the API cannot end any more.
        limit = math.ceil(time.process_time() + order["seconds"]) + _SPARE_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        say(*_done(order))


def _done(order: dict[str, Any]) -> tuple[bytes, bytes]:
    """The kind of answer to a piece of work, and the answer."""
    from tunesmith.errors import TunesmithError
    from tunesmith_platform.sandbox import process, work

    try:
        return process.RESULT, work.TABLE[order["name"]](order["argument"])
    except TunesmithError as error:
        return process.ERROR, error.body().model_dump_json().encode()
    except OSError as error:
        name = None if error.filename is None else str(error.filename)
        return process.OS_ERROR, json.dumps([error.errno, error.strerror, name]).encode()
    except MemoryError:
        return process.MEMORY, b""
    except BaseException:  # a native library's panic is no `Exception`
        return process.CRASH, traceback.format_exc()[-_WORDS:].encode()


if __name__ == "__main__":
    main()
    os._exit(0)
