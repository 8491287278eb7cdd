"""Becomes llama.cpp's converter, and ends with whoever asked for it: `PARENT PROGRAM ARGUMENT...`.

A program of somebody else's does not look after its parent: the system does, asked before it begins.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended meanwhile
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  (an argument list, and no shell)
