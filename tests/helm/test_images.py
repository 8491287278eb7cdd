"""Tier 2: the images are built, run as the chart runs them, and one training goes through them.

It proves what a pod's own process does under the chart's rules: no writable root, no capability, user 10001. It proves
nothing of Kubernetes. Skipped, and said to be, where Debian's buildah, podman or the base image are absent.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from containers import (
    PREFIX,
    build,
    bytes_of,
    inside,
    memory_of,
    need_containers,
    running,
    said,
    write_context,
)
from short_tasks import completed, submit_short, write_dialogues
from tiny_model import make_tiny_model
from waiting import free_port, wait_until

import tunesmith
from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.job import read_secret

pytestmark = [pytest.mark.long, pytest.mark.slow]

PLATFORM, JOBS = (
    f"{PREFIX}/{name}:{tunesmith.__version__}" for name in ("tunesmith-platform", "tunesmith-jobs-cpu")
)
_USER = 10001


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_containers()
    return write_context(tmp_path_factory.mktemp("context"))


@dataclass(frozen=True)
class Pod:
    """A running server, and how it is reached."""

    container: str
    url: str
    home: Home
    ray_port: int


@pytest.fixture(scope="module")
def platform(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """The platform's container, with a state folder that jobs share."""
    build(context, "tunesmith-platform")
    home = Home(tmp_path_factory.mktemp("state"))
    home.create()
    for path in (home.root, *home.root.rglob("*")):
        os.chown(path, _USER, _USER)
    for path in home.root.parents:  # another user comes to it through these
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    port, ray_port = free_port(), free_port()
    environment = {
        "TUNESMITH_HOME": str(home.root),
        "TUNESMITH_HOST": "127.0.0.1",
        "TUNESMITH_PORT": str(port),
        "TUNESMITH_RAY_URL": f"http://127.0.0.1:{ray_port}",
        "TUNESMITH_CHECK_PROCESSES": "1",
    }
    began = time.monotonic()
    with running(
        PLATFORM, ["python", "-m", "tunesmith_platform.app"], {home.root: str(home.root)}, environment
    ) as container:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: _status(f"{url}/readyz") == 200, 120, "the platform's container")
        except BaseException:
            print(said(container))
            raise
        print(f"ready after {time.monotonic() - began:.1f} s")
        yield Pod(container, url, home, ray_port)


def _status(url: str) -> int:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def test_the_platform_runs_without_rights_and_writes_nothing_but_its_volume(platform: Pod) -> None:
    assert _status(f"{platform.url}/livez") == 200
    assert inside(platform.container, "id", "-u").stdout.strip() == str(_USER)
    refused = inside(platform.container, "touch", "/opt/tunesmith/x")
    assert "Read-only file system" in refused.stderr
    rights = inside(platform.container, "grep", "CapEff", "/proc/self/status").stdout
    assert rights.split() == ["CapEff:", "0" * 16]
    memory = memory_of(platform.container)
    print(f"{memory / 1e6:.0f} MB of memory")
    assert memory < 600e6  # with the loops and a process that reads files; the pod without them is below 400


def test_the_platform_s_image_is_small_and_holds_no_torch(platform: Pod) -> None:
    size = bytes_of("tunesmith-platform", tunesmith.__version__)
    print(f"{size / 1e6:.0f} MB")
    assert size < 400e6
    found = inside(platform.container, "cat", "/opt/tunesmith/sbom.json").stdout
    assert f"pkg:pypi/tunesmith@{tunesmith.__version__}" in found
    assert "pkg:deb/debian/python3@" in found
    for heavy in ("torch", "ray", "mlflow", "transformers"):
        assert f"pkg:pypi/{heavy}@" not in found


def test_a_change_of_our_code_alone_is_a_layer_of_its_own(
    platform: Pod, context: Path, tmp_path: Path
) -> None:
    """The wheel differs, the pins do not: what was installed for them is taken as it is."""
    other = tmp_path / "context"
    shutil.copytree(context, other)
    (wheel,) = other.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "wheel")], check=True)
    (tmp_path / "wheel" / "tunesmith" / "changed.py").write_text("'''Ours, changed.'''\n")
    wheel.unlink()
    shutil.make_archive(str(wheel), "zip", tmp_path / "wheel")
    Path(f"{wheel}.zip").rename(wheel)
    began = time.monotonic()
    output = build(other, "tunesmith-platform")
    print(f"rebuilt in {time.monotonic() - began:.1f} s")
    try:
        with running(PLATFORM, ["sleep", "60"], {}, {}) as container:
            assert inside(container, "python", "-c", "import tunesmith.changed").returncode == 0
        assert "Using cache" in output
        assert "Collecting " not in output, "packages were installed anew"
    finally:
        build(context, "tunesmith-platform")


def test_one_training_goes_through_both_images(platform: Pod, context: Path) -> None:
    build(context, "tunesmith-jobs-cpu")
    size = bytes_of("tunesmith-jobs-cpu", tunesmith.__version__)
    print(f"{size / 1e9:.2f} GB")
    assert size < 2.5e9
    home = platform.home
    make_tiny_model(home.models / "tiny")
    rows = write_dialogues(home.models / "rows.jsonl", count=8)
    for path in (home.models / "tiny", *(home.models / "tiny").rglob("*"), rows):
        os.chown(path, _USER, _USER)
    gcs = free_port()
    ray = [
        "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={platform.ray_port}", "--object-store-memory=200000000",
        f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
        "--disable-usage-stats", "--temp-dir=/tmp/ray",
    ]  # fmt: skip
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": read_secret(home.ray_token_file)}
    folders = {home.root: str(home.root)}
    with running(JOBS, ray, folders, environment, "--shm-size=1g") as container:
        client = Client(platform.url, read_secret(home.api_key_file))
        try:
            task = submit_short(client, home.models / "tiny", rows, 2, device="cpu")
            ended = completed(client, task)
        finally:
            print(said(container), said(platform.container))
        assert client.checkpoints(ended.id)
        assert inside(container, "id", "-u").stdout.strip() == str(_USER)
