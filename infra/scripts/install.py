"""Install packages into this environment with uv, as pip here would: quicker, from the same places, by the same pins.

Run by the environment's own Python; the arguments are those of `pip install`. What pip is configured with (index,
further indexes, links, constraints, certificate, proxies) is handed on: without it uv would take a PyTorch for CUDA, of
gigabytes, on a machine whose pip finds one for its processor. Where uv cannot be had or does not manage, pip does it.
Standard library alone: nothing is installed yet.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
"""pip's settings, and the variables by which uv takes the same."""
_SECTIONS = ("global", "install", ":env:")
"""Where pip is configured; what stands further on counts more."""


def settings_of(listing: str) -> dict[str, str]:
    """What `pip config list` says, by the settings' names.

    Args:
        listing: Lines of `section.name='value'`; a value may hold several, with spaces or new lines between them.
    """
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, _, text = line.partition("=")
        section, _, name = key.rpartition(".")
        if section not in _SECTIONS:
            continue
        try:
            value = " ".join(str(ast.literal_eval(text)).split())
        except (ValueError, SyntaxError):
            continue
        rank = _SECTIONS.index(section)
        if rank >= found.get(name, (0, ""))[0]:
            found[name] = (rank, value)
    return {name: value for name, (_, value) in found.items()}


def environment_for_uv(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which uv finds what pip would find; what is said to uv itself stays.

    Args:
        settings: pip's, by name.
        environment: Of this process.
    """
    given = {NAMES[name]: value for name, value in settings.items() if name in NAMES and value}
    # pip looks everywhere and takes the best, uv stops at the first index that knows the name: the pins make it safe.
    given["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "UV_FIND_LINKS" in given:
        given["UV_FIND_LINKS"] = ",".join(given["UV_FIND_LINKS"].split())
    return {**given, **environment}


def main(arguments: list[str]) -> int:
    """Install; the exit status is that of the last tool that tried."""
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    pins = Path(__file__).resolve().parents[2] / "constraints.txt"
    got_uv = subprocess.run([*PIP, "install", "-qq", "-c", str(pins), "uv"], check=False).returncode == 0
    if got_uv:
        uv = [
            str(Path(sys.executable).parent / "uv"),
            "pip",
            "install",
            "--quiet",
            "--python",
            sys.executable,
        ]
        environment = environment_for_uv(settings_of(listing), os.environ)
        if subprocess.run([*uv, *arguments], env=environment, check=False).returncode == 0:
            return 0
        print("uv did not manage; once more with pip.", file=sys.stderr)
    return subprocess.run([*PIP, "install", "--quiet", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
