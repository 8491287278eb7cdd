"""The containers' images: their contexts, and how they are built, listed and named behind one prefix.

`images.py context FOLDER` writes what the builds read: our wheel, the pins, the requirements of each image.
`images.py build FOLDER --prefix PREFIX` builds them with buildah, podman or docker. `images.py list --prefix PREFIX`
prints each with its digest, as the chart's values take them, and `images.py sbom NAME --prefix PREFIX` what is in one.

Pip's own variables (`PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`, `PIP_FIND_LINKS`, `PIP_CERT`) say where packages come from;
torch for processors alone is looked for there.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "infra" / "images"
IMAGES = {
    "tunesmith-platform": ("platform", {}),
    "tunesmith-mlflow": ("mlflow", {}),
    "tunesmith-jobs-cpu": ("jobs", {"ACCELERATOR": "cpu"}),
    "tunesmith-jobs-cuda": ("jobs", {"ACCELERATOR": "cuda"}),
    "tunesmith-data": ("data", {}),
}
"""Each image: its file, and what the build is told."""
EXTRAS = {
    "platform": ("server",),
    "mlflow": ("mlflow",),
    "jobs": ("jobs", "serve", "optimizers", "trackers", "similarity"),
}
"""Which extras of the package are in an image."""
_SBOM = {"tunesmith-data": "/usr/local/share/sbom.json"}
_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT")


def version() -> str:
    """The version that wheel, images and chart have."""
    return str(_project()["version"])


def _project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def requirements(*extras: str) -> list[str]:
    """What is installed for extras of the package, without the package: so that our code is a layer of its own."""
    project = _project()
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    base = project["dependencies"]
    assert isinstance(base, list)
    found, open_, seen = list(base), list(extras), set()
    while open_:
        extra = open_.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for wanted in optional[extra]:
            own = re.fullmatch(r"tunesmith\[(.+)]", wanted)
            if own:
                open_ += own[1].split(",")
            else:
                found.append(wanted)
    return sorted(set(found))


def write_context(folder: Path, wheel: Path | None = None) -> None:
    """Write what the builds read.

    Args:
        folder: Where.
        wheel: Ours, where it is built already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    for file in FILES.iterdir():
        shutil.copy(file, folder / file.name)
    shutil.copy(ROOT / "constraints.txt", folder)
    for image, extras in EXTRAS.items():
        (folder / f"requirements-{image}.txt").write_text("\n".join(requirements(*extras)) + "\n")
    if wheel is not None:
        shutil.copy(wheel, folder)
        return
    build_wheel(folder)


def build_wheel(folder: Path) -> None:
    """Build the project's wheel into a folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)


def build_command(builder: str, folder: Path, name: str, prefix: str, more: list[str]) -> list[str]:
    """How an image is built."""
    file, told = IMAGES[name]
    command = [builder, "build", "-f", str(folder / f"{file}.Dockerfile"), "-t", reference(name, prefix)]
    if builder != "docker":
        # Health checks are docker's; layers are kept, so that a change of our code alone builds in seconds.
        command += ["--format", "docker", "--layers"]
    arguments = told | {variable: os.environ[variable] for variable in _PIP if variable in os.environ}
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    return [*command, *more, str(folder)]


def reference(name: str, prefix: str) -> str:
    """An image's name behind the prefix, with the version."""
    return f"{prefix.rstrip('/')}/{name}:{version()}"


def listed(builder: str, prefix: str) -> dict[str, str]:
    """The digest of each image that is here."""
    found = {}
    for name in IMAGES:
        done = subprocess.run(
            [builder, "inspect", "--type", "image", reference(name, prefix)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            said = json.loads(done.stdout)
            said = said[0] if isinstance(said, list) else said
            digest = said.get("FromImageDigest") or said.get("Digest")
            pushed = [each.partition("@")[2] for each in said.get("RepoDigests") or []]
            found[name] = digest or (pushed[0] if pushed else "")
    return found


def main() -> None:
    """Do what the command says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["context", "build", "list", "sbom"])
    parser.add_argument(
        "given", nargs="?", default="", help="The context's folder; of `sbom`, the image's name."
    )
    parser.add_argument("--prefix", default="localhost", help="What every image's name begins with.")
    parser.add_argument(
        "--builder", default=next(filter(shutil.which, ("buildah", "podman", "docker")), "docker")
    )
    parser.add_argument(
        "--only", action="append", choices=list(IMAGES), help="Only this one; may be given again."
    )
    parser.add_argument(
        "--more", action="append", default=[], help="A further word for the builder, `--more=--volume=...`."
    )
    wanted = parser.parse_args()
    if wanted.what in ("context", "build") and not wanted.given:
        parser.error("name the context's folder")
    if wanted.what == "context":
        write_context(Path(wanted.given))
        print(f"Wrote the contexts of {len(IMAGES)} images to `{wanted.given}`.")
    elif wanted.what == "build":
        if not list(Path(wanted.given).glob("*.whl")):
            parser.error(
                f"there is no context in `{wanted.given}`: run `images.py context {wanted.given}` first"
            )
        for name in wanted.only or IMAGES:
            subprocess.run(
                build_command(wanted.builder, Path(wanted.given), name, wanted.prefix, wanted.more),
                check=True,
            )
    elif wanted.what == "list":
        print("images:")
        print(f"  registry: {wanted.prefix}\n  tag: {version()}\n  digests:")
        for name, digest in listed(wanted.builder, wanted.prefix).items():
            print(f"    {name}: {digest}")
    else:
        place = _SBOM.get(wanted.given, "/opt/tunesmith/sbom.json")
        runner = "podman" if wanted.builder == "buildah" else wanted.builder
        subprocess.run(
            [
                runner,
                "run",
                "--rm",
                "--network",
                "none",
                reference(wanted.given, wanted.prefix),
                "cat",
                place,
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
