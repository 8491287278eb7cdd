"""What is in this image, Debian's packages and Python's, as a CycloneDX document. Run while it is built."""

import importlib.metadata
import json
import sys
from pathlib import Path


def debian(status: str) -> list[dict[str, str]]:
    """The installed packages that dpkg's status file names."""
    found = []
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{name}@{version}?arch={fields['Architecture']}"
            found.append({"type": "library", "name": name, "version": version, "purl": purl})
    return found


def python() -> list[dict[str, str]]:
    """The packages that this interpreter finds."""
    return [
        {
            "type": "library",
            "name": name,
            "version": one.version,
            "purl": f"pkg:pypi/{name.lower()}@{one.version}",
        }
        for one in importlib.metadata.distributions()
        if (name := one.metadata["Name"])
    ]


if __name__ == "__main__":
    parts = debian(Path("/var/lib/dpkg/status").read_text()) + python()
    parts.sort(key=lambda part: part["purl"])
    component = {"type": "container", "name": sys.argv[1]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component},
    }
    json.dump(document | {"components": parts}, sys.stdout, indent=1)
