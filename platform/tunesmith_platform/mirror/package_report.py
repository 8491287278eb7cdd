"""What a packaging made, in its MLflow run: the figures of each file, the card, proofs, Modelfiles, all sums.

The GGUF files themselves are not copied: they are the largest there are, and a second name for their bytes would keep
them after the platform has removed them. A tag says where they lie. Knows the event and the run's folder.
"""

import json
import logging
from typing import Any

from tunesmith.artifacts import PACKAGE
from tunesmith.errors import TunesmithError
from tunesmith.package_views import PackageView
from tunesmith.storage import open_storage
from tunesmith_platform.backends.protocols import Point, Run, Tracking
from tunesmith_platform.db.tables import EventRow, TaskRow

logger = logging.getLogger(__name__)
_MOST_BYTES = 2**20
"""Of a text that is copied."""
_TEXTS = (".md", ".json", ".Modelfile")


def show(tracking: Tracking, run: Run, task: TaskRow, entry: EventRow, *, with_texts: bool) -> None:
    """Show a package in its task's run. The same again changes nothing; a folder that takes no texts costs these.

    Args:
        tracking: MLflow.
        run: The task's.
        task: Whose package it is.
        entry: The event that says it.
        with_texts: Whether its texts are copied: not where the whole folder shows there.
    """
    about = {"task_id": task.id, "name": task.name, "created_at": entry.time}
    view = PackageView.model_validate(entry.payload | about)
    tracking.log_points(run.run_id, _points(view, int(entry.time.timestamp() * 1000)))
    tags = {
        "tunesmith.package_uri": view.uri,
        "tunesmith.package_bytes": str(sum(one.bytes for one in view.files)),
    }
    tracking.describe(run.run_id, {}, tags)
    if not with_texts or str(task.artifact_uri).rstrip("/") == run.artifact_uri.rstrip("/"):
        return
    try:
        target, source = open_storage(run.artifact_uri), open_storage(view.uri)
        for name, data in _texts(view).items():
            target.write(f"{PACKAGE}/{name}", data)
        for one in view.others:
            is_text = one.name.endswith(_TEXTS) and one.bytes <= _MOST_BYTES and "/" not in one.name
            if is_text and (text := source.read(one.name)) is not None:
                target.write(f"{PACKAGE}/{one.name}", text)
    except (OSError, TunesmithError) as error:
        logger.warning("%s: the report of its package is not written: %s", task.id, error)


def _points(view: PackageView, stamp: int) -> list[Point]:
    found: dict[str, Any] = {}
    for one in view.files:
        if one.verdict == "failed":
            continue
        start = f"package_{one.type}"
        found |= {f"{start}_bytes": one.bytes, f"{start}_kl": one.kl_mean, f"{start}_top1": one.top1}
    return [Point(name, float(value), view.step, stamp) for name, value in found.items() if value is not None]


def _texts(view: PackageView) -> dict[str, bytes]:
    """The report, and the sums as `sha256sum --check` reads them."""
    report = view.model_dump(mode="json", exclude={"uri"})
    sums = "".join(f"{one.sha256}  {one.name}\n" for one in view.offered().values())
    return {
        "package.json": (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(),
        "SHA256SUMS.txt": sums.encode(),
    }
