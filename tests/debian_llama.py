"""Debian's own build of llama.cpp, unpacked into a folder with all that it needs and started by chroot. No test itself.

`python tests/debian_llama.py FOLDER` unpacks it. The archive is the one that this machine's apt asks; its newest suite
is looked at in lists of their own, and nothing is installed. Needs root, and an apt of Debian's.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

SUITE, PACKAGE = "sid", "llama.cpp-tools-extra"
"""Its tools, and what measures files (`llama-perplexity`, `llama-imatrix`), which brings them along."""
_SECONDS = 300
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MARK = ".unpacked"


class NotHere(Exception):
    """The archive is not reached, or this machine may not unpack it; says why."""


def unpacked(folder: Path) -> Path:
    """A root with llama.cpp in it; made where it is not there yet.

    Args:
        folder: Takes it, and what was fetched.

    Raises:
        NotHere: It cannot be made.
    """
    root = folder / "root"
    if (root / _MARK).is_file():
        return root
    if os.geteuid() != 0:
        raise NotHere("chroot needs root.")
    apt = _apt(folder / "apt")
    _run([*apt, "update"], "The archive is not reached")
    _run(
        [*apt, "install", "-y", "--download-only", "--no-install-recommends", PACKAGE],
        f"`{PACKAGE}` is not fetched",
    )
    root.mkdir(parents=True, exist_ok=True)
    for name in ("lib", "lib64", "bin", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (root / name).symlink_to(f"usr/{name}")
    for package in sorted((folder / "apt" / "archives").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], f"`{package.name}` is not unpacked")
    for name in ("tmp", "models"):
        (root / name).mkdir(exist_ok=True)
    (root / _MARK).write_text(f"{PACKAGE} of {SUITE}\n")
    return root


def command(root: Path, program: str, *arguments: str) -> list[str]:
    """What starts one of its programs.

    Args:
        root: As `unpacked` gives it.
        program: Such as `llama-server`.
        arguments: Its own, with paths inside the root.
    """
    return ["chroot", str(root), f"/usr/bin/{program}", *arguments]


def placed(root: Path, file: Path) -> str:
    """A file's path inside the root; it is linked there."""
    inside = root / "models" / file.name
    if not inside.exists() or not inside.samefile(file):
        inside.unlink(missing_ok=True)
        try:
            inside.hardlink_to(file)
        except OSError:  # another disk
            inside.write_bytes(file.read_bytes())
    return f"/models/{file.name}"


def version(root: Path) -> str:
    """What it says of itself."""
    done = subprocess.run(
        command(root, "llama-server", "--version"), capture_output=True, text=True, check=False, timeout=60
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def _apt(place: Path) -> list[str]:
    """apt with lists and a cache of its own, over the newest suite of this machine's archive.

    Raises:
        NotHere: It has none of Debian's.
    """
    for name in ("lists/partial", "archives/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    given = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    try:
        found = subprocess.run(
            given, capture_output=True, text=True, check=True, timeout=60
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        raise NotHere(f"This machine has no apt: {error}") from error
    site = next((line for line in found if line.rstrip("/").endswith("/debian")), None)
    if site is None:
        raise NotHere("This machine's apt asks no archive of Debian's.")
    option = f"[signed-by={_KEYRING}] " if _KEYRING.is_file() else ""
    (place / "sources.list").write_text(f"deb {option}{site} {SUITE} main\n")
    where = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": place,
        "Dir::State::lists": place / "lists",
        "Dir::State::status": place / "status",
        "Dir::Cache": place,
        "Dir::Cache::archives": place / "archives",
    }
    return ["apt-get", "-q", *(part for name, value in where.items() for part in ("-o", f"{name}={value}"))]


def _run(given: list[str], otherwise: str) -> None:
    done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        raise NotHere(f"{otherwise}: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    made = unpacked(Path(sys.argv[1]))
    print(made, version(made))
