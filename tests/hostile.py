"""Model folders whose chat templates take long or grow. Harmless: they end at the bounds of whoever reads them."""

import os
import shutil
from pathlib import Path

SLOW = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
"""Hours of counting."""
GROWING = (
    "{% set kept = namespace(text='0123456789') %}{% for a in range(60) %}"
    "{% set kept.text = kept.text ~ kept.text %}{% endfor %}"
)
"""A text that doubles sixty times."""


def with_template(model: Path, folder: Path, template: str) -> Path:
    """A model's files, with another chat template."""
    folder.mkdir()
    for file in model.iterdir():
        if file.suffix == ".safetensors":
            os.link(file, folder / file.name)
        else:
            shutil.copy(file, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder
