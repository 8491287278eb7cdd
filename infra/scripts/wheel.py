"""No wheel without the studio: who installs one has no npm registry to build it from. A build hook of hatchling."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WithStudio(BuildHookInterface[Any]):
    """Refuses to build a wheel while the studio is not built; an editable install may be without."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling."""
        page = Path(self.root) / "platform" / "tunesmith_ui" / "built" / "index.html"
        if version != "editable" and not page.is_file():
            raise SystemExit("The studio is not built, and a wheel carries it: run `make studio` first.")
