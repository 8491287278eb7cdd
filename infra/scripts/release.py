"""`make release`: wheel, images' contexts and chart with one version, tried in a clean environment, and the notes.

Everything is written to a folder (`dist/`), and nothing is published. The version stands in `pyproject.toml`; the chart
says the same, and CHANGELOG has a section of it. With `--draft` the notes are those of `Unreleased`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "infra" / "scripts")]
import images  # noqa: E402
from chart_tools import CHART, SETS, helm, immutable, objects, rendered, run_helm  # noqa: E402

RELEASED = ROOT / "tests" / "helm" / "released.json"


def fail(words: str) -> None:
    """End with what is wrong."""
    print(f"release: {words}", file=sys.stderr)
    sys.exit(1)


def versions() -> dict[str, str]:
    """The version, as each place says it."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    said = re.search(
        r'^__version__ = "(.+)"', (ROOT / "platform" / "tunesmith" / "__init__.py").read_text(), re.MULTILINE
    )
    found = {
        "pyproject.toml": images.version(),
        "Chart.yaml": chart["version"],
        "appVersion": chart["appVersion"],
    }
    return found | ({"tunesmith.__version__": said[1]} if said else {})


def notes_of(changelog: str, heading: str) -> str:
    """A section of CHANGELOG without its heading; empty where there is none."""
    for part in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        if title.split()[0] == heading:
            return text.strip()
    return ""


def try_wheel(wheel: Path, folder: Path, version: str) -> str:
    """Install the wheel by the pins into an environment that is empty, and ask the command its version.

    Returns:
        What is wrong; empty where nothing is.
    """
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    done = subprocess.run([*install, f"{wheel}[server]"], check=False, capture_output=True, text=True)
    if done.returncode:
        return done.stderr[-2000:]
    # Nothing of this repository is on its path.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [str(folder / "bin" / "tunesmith"), "--version"],
        [str(python), "-c", "import tunesmith_platform.app, tunesmith_ui.pages as p; print(p.__file__)"],
    ):
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd=folder
        )
        if done.returncode:
            return done.stderr[-2000:]
        if command[-1] == "--version" and version not in done.stdout:
            return f"it says to be {done.stdout.strip()}"
    return ""


def try_chart(package: Path) -> str:
    """Render the packed chart with the smallest values; what is wrong, empty where nothing is."""
    done = run_helm("template", "tunesmith", str(package), "--set", "images.registry=registry.example")
    return done.stderr[-2000:] if done.returncode else ""


def main() -> None:
    """Make a release."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    parser.add_argument("--draft", action="store_true", help="Of what is not released yet; records nothing.")
    wanted = parser.parse_args()
    found = versions()
    version = images.version()
    if set(found.values()) != {version}:
        fail(
            f"there is more than one version: {', '.join(f'{place} says {said}' for place, said in found.items())}."
        )
    heading = "Unreleased" if wanted.draft else version
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(), heading)
    if not notes:
        fail(f"CHANGELOG.md has no section `## {heading}`.")
    helm()
    target: Path = wanted.to
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    images.build_wheel(target)
    (wheel,) = target.glob("*.whl")
    images.write_context(target / "images", wheel)
    packed = run_helm("package", str(CHART), "-d", str(target))
    if packed.returncode:
        fail(packed.stderr)
    (package,) = target.glob("*.tgz")
    for what, wrong in (
        (wheel.name, try_wheel(wheel, target / "try", version)),
        (package.name, try_chart(package)),
    ):
        if wrong:
            fail(f"`{what}` does not work in a clean environment: {wrong}")
    shutil.rmtree(target / "try")
    (target / "NOTES.md").write_text(f"# Tunesmith {version}\n\n{notes}\n")
    if not wanted.draft:
        kept = {name: immutable(objects(rendered(name))) for name in SETS}
        RELEASED.write_text(json.dumps({"version": version, "sets": kept}, indent=1, sort_keys=True) + "\n")
    for path in sorted(target.iterdir()):
        size = sum(
            each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file()
        )
        print(f"{path.name:<48} {size / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
