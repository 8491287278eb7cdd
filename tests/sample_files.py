"""Sample files, for tests of what reads them."""

import json
from pathlib import Path
from typing import Any

PAIR = {"prompt": "What is 2 + 2?", "completion": "4"}


def written(folder: Path, content: Any, name: str = "samples.json") -> Path:
    """A file of this content: a text as it is, `.jsonl` a row a line, else JSON."""
    path = folder / name
    if name.endswith(".jsonl"):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
    path.write_text(
        content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False)
    )
    return path
