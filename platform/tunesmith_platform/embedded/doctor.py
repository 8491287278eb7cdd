"""Looks at this machine and names each cure. Each check returns what it found; none changes anything."""

import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from tunesmith.home import Home
from tunesmith_platform.hardware import hardware
from tunesmith_platform.packages import Finding, Verdict, finding, packages, version
from tunesmith_platform.paths import existing

_GB = 2**30
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "lustre", "glusterfs")


def examine(home: Home) -> list[Finding]:
    """Every check."""
    checks: list[Callable[[Home], list[Finding]]] = [
        _python,
        packages,
        _cpu,
        _gpu,
        _memory,
        _shared_memory,
        _disk,
        _home,
        _file_system,
        _ports,
        _open_files,
        _environment,
    ]
    return [found for check in checks for found in check(home)]


def _python(_home: Home) -> list[Finding]:
    found = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return finding("Python", found)
    return finding(
        "Python", found, Verdict.PROBLEM, "Make the environment with Python 3.11: `python3.11 -m venv .venv`."
    )


def _cpu(_home: Home) -> list[Finding]:
    cpu = hardware()
    flags = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in cpu.cpu_flags]
    found = f"{cpu.cpu_name}, {cpu.cpus} cores, {', '.join(flags) or 'no AVX2'}"
    if not cpu.cpu_supports_bf16 and not cpu.gpus:
        return finding(
            "CPU",
            found,
            Verdict.WARNING,
            "It does not compute in bf16: training runs in fp32, about half as fast as on AMX. Nothing to fix.",
        )
    return finding("CPU", found)


def _gpu(_home: Home) -> list[Finding]:
    gpus = hardware().gpus
    if gpus:
        words = ", ".join(
            f"{g.name} ({g.memory_bytes / _GB:.0f} GiB, compute capability {g.compute_capability})"
            for g in gpus
        )
        if "+cpu" in version("torch"):
            return finding(
                "GPU",
                words,
                Verdict.WARNING,
                "PyTorch is a CPU build: install the CUDA build to use the GPU.",
            )
        return finding("GPU", words)
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return finding(
            "GPU",
            "a device, but `nvidia-smi` does not answer",
            Verdict.WARNING,
            "Install the NVIDIA driver's tools.",
        )
    return finding("GPU", "none: training runs on the CPU")


def _memory(_home: Home) -> list[Finding]:
    memory = psutil.virtual_memory()
    found = f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GiB free"
    if memory.available < 3 * _GB:
        return finding(
            "Memory",
            found,
            Verdict.PROBLEM,
            "The platform takes 2 GiB, a small task 2 more: end other programs.",
        )
    if memory.available < 6 * _GB:
        cure = (
            "Enough for models under 500M parameters. `TUNESMITH_WARM_RUNNERS=0` before `up` saves 0.8 GiB."
        )
        return finding("Memory", found, Verdict.WARNING, cure)
    return finding("Memory", found)


def _shared_memory(_home: Home) -> list[Finding]:
    folder = Path("/dev/shm")  # noqa: S108  (the kernel's own place)
    if not folder.is_dir():
        return finding(
            "Shared memory", "no /dev/shm", Verdict.WARNING, "Ray falls back to /tmp, which is slower."
        )
    free = shutil.disk_usage(folder).free
    if free < 0.4 * _GB:
        cure = "Start the container with `--shm-size=2g`."
        return finding("Shared memory", f"{free / _GB:.1f} GiB free", Verdict.WARNING, cure)
    return finding("Shared memory", f"{free / _GB:.1f} GiB free")


def _disk(home: Home) -> list[Finding]:
    free = shutil.disk_usage(existing(home.root)).free
    found = f"{free / _GB:.1f} GiB free for `{home.root}`"
    if free < 2 * _GB:
        return finding("Disk", found, Verdict.PROBLEM, "Free some, or set `TUNESMITH_HOME` to another disk.")
    if free < 10 * _GB:
        return finding("Disk", found, Verdict.WARNING, "Checkpoints may fill it: lower `save_total_limit`.")
    return finding("Disk", found)


def _home(home: Home) -> list[Finding]:
    folder = existing(home.root)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        return finding(
            "State folder",
            f"`{folder}` cannot be written: {error.strerror}",
            Verdict.PROBLEM,
            "Set `TUNESMITH_HOME` to a folder of yours.",
        )
    return finding("State folder", f"`{home.root}`")


def _file_system(home: Home) -> list[Finding]:
    folder = str(existing(home.root).resolve())
    mounts = [
        (disk.mountpoint, disk.fstype)
        for disk in psutil.disk_partitions(all=True)
        if os.path.commonpath([folder, disk.mountpoint]) == disk.mountpoint
    ]
    kind = max(mounts, key=lambda mount: len(mount[0]))[1] if mounts else "unknown"
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        return finding(
            "File system",
            f"`{kind}`, over a network",
            Verdict.WARNING,
            "SQLite's locks are unsafe there: set `TUNESMITH_HOME` to a local disk.",
        )
    if kind == "tmpfs":
        cure = "It is gone at the next boot, and takes memory: set `TUNESMITH_HOME` to a disk."
        return finding("File system", f"`{kind}`", Verdict.WARNING, cure)
    return finding("File system", f"`{kind}`")


def _ports(_home: Home) -> list[Finding]:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            probe.listen()
    except OSError as error:
        cure = "Allow programs to listen on 127.0.0.1."
        return finding("Ports", f"loopback cannot be bound: {error.strerror}", Verdict.PROBLEM, cure)
    return finding("Ports", "loopback can be bound; `up` chooses free ones")


def _open_files(_home: Home) -> list[Finding]:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        return finding(
            "Open files", f"limit {soft}", Verdict.WARNING, "Raise it before `up`: `ulimit -n 65536`."
        )
    return finding("Open files", f"limit {'none' if soft == resource.RLIM_INFINITY else soft}")


def _environment(_home: Home) -> list[Finding]:
    foreign = sorted(
        name
        for name in os.environ
        if name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI") or name.startswith("RAY_AUTH")
    )
    if foreign:
        return finding(
            "Environment",
            f"{', '.join(foreign)} set",
            Verdict.WARNING,
            "`up` passes them over; other programs of this shell may talk to another Ray or MLflow.",
        )
    return finding("Environment", "nothing of another Ray or MLflow is set")
