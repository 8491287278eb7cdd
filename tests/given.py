"""What tasks of a control plane's tests are given: a model and rows that every real check takes. No test itself."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model_files import LAYERS, make_model_folder, safetensors

FOLDER = Path(tempfile.mkdtemp(prefix="tunesmith-given-"))
"""An allowed root of every `Plane`. One for the process: what was looked at once is remembered."""
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

MODEL = str(make_model_folder(FOLDER / "m"))
_layers = {
    f"model.layers.0.{name}.weight": [2, 2]
    for name in ("self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj")
}
_vocab = json.loads((Path(MODEL) / "config.json").read_text())["vocab_size"]
(Path(MODEL) / "model.safetensors").write_bytes(
    safetensors({**LAYERS, "model.embed_tokens.weight": [_vocab, 2], **_layers})
)


def _written(name: str, rows: Iterable[dict[str, Any]]) -> str:
    (FOLDER / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(FOLDER / name)


ROWS = _written(
    "t.jsonl",
    (
        {
            "messages": [
                {"role": "user", "content": f"what is {number}?"},
                {"role": "assistant", "content": f"a number, {number}."},
            ]
        }
        for number in range(40)
    ),
)
LABELS = _written(
    "labels.jsonl", ({"text": f"number {i}", "label": ("even", "odd")[i % 2]} for i in range(40))
)
"""Rows of two classes, whose text may be trained on too."""
SPEC = {"model_name_or_path": MODEL, "train_file": ROWS}
"""The least that a training needs."""
