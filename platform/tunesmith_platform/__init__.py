"""The control plane: takes tasks, runs them on Ray, keeps their history. Knows the contract, never torch."""

import sys

# Without its command line, which takes `rich`, `click` and `pygments` with it: httpx then goes on as where they are
# not installed. The `httpx` command is a process of its own.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
