"""Images built and run with Debian's buildah and podman, as root and without a network of their own. No test itself."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from required import require

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "infra" / "scripts" / "images.py"
PREFIX = "localhost"
_BASE = "docker.io/library/debian:bookworm-slim"
_TOOLS = ("buildah", "podman", "runc", "conmon", "debootstrap")
_OPEN_FILES = 20_000
"""Where a machine lets nobody raise a limit, what is not named is refused: podman asks for more."""


def need_containers() -> None:
    """Skip where the tools are absent, or the images' base.

    The base is made by `debootstrap --variant=minbase bookworm`, made as slim as the registry's (without `apt`'s caches
    and lists, documentation and locales), and `podman import` under its name.
    """
    for tool in _TOOLS:
        require(shutil.which(tool), f"`{tool}`")
    require(os.geteuid() == 0, "The right to run containers as root")
    found = subprocess.run(["podman", "image", "exists", _BASE], check=False)
    require(found.returncode == 0, f"The image `{_BASE}`")


def limits() -> list[str]:
    """What a container may open and start, as far as this machine lets it be said."""
    files = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    processes = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NPROC)[1])
    return [f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"]


def write_context(folder: Path) -> Path:
    """Write what the builds read; skips where the studio, which our wheel carries, is not built."""
    page = ROOT / "platform" / "tunesmith_ui" / "built" / "index.html"
    require(page.is_file(), "The built studio (`make studio`)")
    subprocess.run([sys.executable, str(SCRIPT), "context", str(folder)], check=True)
    return folder


def build(context: Path, name: str) -> str:
    """Build one image from a context that is written; returns what the builder said."""
    environment = dict(os.environ)
    more = ["--isolation=chroot", "--network=host", "--pull=false", limits()[0]]
    certificate = environment.get("PIP_CERT")
    if certificate:  # a registry behind an authority of this machine's
        more.append(f"--volume={certificate}:/run/host-ca.crt:ro")
        environment["PIP_CERT"] = "/run/host-ca.crt"
    links = environment.get("PIP_FIND_LINKS", "")
    if Path(links).is_dir() and links:
        more.append(f"--volume={links}:{links}:ro")
    words = [word for each in more for word in (f"--more={each}",)]
    command = [
        sys.executable,
        str(SCRIPT),
        "build",
        str(context),
        "--builder=buildah",
        "--only",
        name,
        *words,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def bytes_of(name: str, tag: str) -> int:
    """How large an image is, unpacked."""
    command = ["podman", "image", "inspect", "--format", "{{.Size}}", f"{PREFIX}/{name}:{tag}"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextlib.contextmanager
def running(
    image: str, command: list[str], folders: Mapping[Path, str], environment: Mapping[str, str], *more: str
) -> Iterator[str]:
    """A container as the chart runs its pods: a root file system that nobody writes, no right at all, user 10001.

    Yields:
        Its id, while it runs.
    """
    words = [
        "--detach",
        "--network=host",
        "--read-only",
        "--read-only-tmpfs=false",
        "--tmpfs=/tmp:rw,exec,mode=1777",
    ]
    words += [
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=10001:10001",
        "--no-healthcheck",
        *limits(),
    ]
    words += [f"--volume={path}:{place}" for path, place in folders.items()]
    words += [f"--env={name}={value}" for name, value in environment.items()]
    started = subprocess.run(
        ["podman", "run", *words, *more, image, *command], check=False, capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        yield container
    finally:
        subprocess.run(["podman", "rm", "-f", "-v", "-t", "5", container], check=False, capture_output=True)


def said(container: str) -> str:
    """The end of a container's log."""
    done = subprocess.run(
        ["podman", "logs", "--tail=60", container], check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def inside(container: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a container."""
    return subprocess.run(
        ["podman", "exec", container, *command], check=False, capture_output=True, text=True
    )


def memory_of(container: str) -> int:
    """What a container's first process and those below it hold of memory, in bytes."""
    import psutil

    command = ["podman", "inspect", "--format", "{{.State.Pid}}", container]
    first = psutil.Process(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return sum(each.memory_info().rss for each in [first, *first.children(recursive=True)])


def sbom(name: str) -> dict[str, str]:
    """The packages in an image, by their addresses."""
    command = [sys.executable, str(SCRIPT), "sbom", name, "--builder=podman"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {part["purl"]: part["version"] for part in json.loads(done.stdout)["components"]}
