"""Run the few tests that have just failed once more, each by itself: for CI, whose machine others share.

A test that passes then is named as unstable, loudly: it is a fault to be looked for, though none of what is landed. One
that fails again fails the run, and so does anything else: more failures than a few, or a run that did not come to its
end, of which nobody knows what the rest would have said.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

MOST = 3
"""More than so many failures have a cause, and no chance."""
_CACHE = Path(".pytest_cache") / "v"
_TESTS_FAILED = 1
"""How pytest exits that ran every test, and some failed; it exits otherwise where it was interrupted."""


def failed_tests(cache: Path = _CACHE) -> list[str]:
    """The tests that failed in the last run; empty where it did not come to its end (`tests/conftest.py` says)."""
    try:
        found = json.loads((cache / "cache" / "lastfailed").read_text())
        exit_status = json.loads((cache / "tunesmith" / "exit_status").read_text())
    except (OSError, ValueError):
        return []
    return sorted(found) if exit_status == _TESTS_FAILED and isinstance(found, dict) else []


def main() -> int:
    """Returns 0 where every failed test passes now."""
    failed = failed_tests()
    if not 1 <= len(failed) <= MOST or any("::" not in name for name in failed):
        return 1
    print(f"\nRunning {len(failed)} once more, each by itself:", *failed, sep="\n  ", flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    codes = [subprocess.run([*command, name], env=environment, check=False).returncode for name in failed]
    again = [name for name, code in zip(failed, codes, strict=True) if code != 0]
    if again:
        print("\nFAILED TWICE:", *again, sep="\n  ")
        return 1
    print(
        "\nUNSTABLE: failed among the others and passed by itself; find out why:",
        *failed,
        sep="\n  ",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
