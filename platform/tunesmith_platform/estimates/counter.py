"""Counts of files' tokens, each file's once: kept ones, or a sample's while a worker counts all rows.

A large file is answered from a seeded sample at once, while a worker beside the others counts all rows; from then on
answers are exact. What is kept does not depend on `max_length`, so that trying another one costs nothing. Knows where
counts are kept; knows nothing of memory, steps or the database.
"""

import logging
import os
import re
import threading
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.removal import discard_file
from tunesmith_platform.sandbox import checks, shared_workers
from tunesmith_platform.sandbox.count_tokens import CountSource
from tunesmith_platform.sandbox.pool import Limits
from tunesmith_platform.sandbox.token_counts import Counts

logger = logging.getLogger(__name__)

_KEPT_FILES = 64
_COUNTS = re.compile(r"[0-9a-f]{32}\.npz")
"""What kept counts are called: whatever has another name is left alone."""
_TIME_LIMIT = 3600
_COUNTS_BYTES = 4 * 2**30


class Counter:
    """Answers with counts: kept ones, else those of a sample while all rows are counted in the background.

    Args:
        folder: Where counts are kept; the files used longest ago go first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Counts] = {}
        self._samples: dict[str, Counts] = {}
        self._lock = threading.Lock()
        self._busy: threading.Thread | None = None
        self._background = shared_workers.shared.another(processes=1, file_bytes=_COUNTS_BYTES)
        self._failed: set[str] = set()

    def counts(self, source: CountSource) -> Counts:
        """The counts of a file as good as they are known now.

        Raises:
            InvalidData: A row that was looked at cannot be trained on.
        """
        key = source.key
        with self._lock:
            found = self._known.get(key) or self._kept(key)
        if found is not None:
            return found
        with self._lock:
            sample = self._samples.get(key)
        sample = sample or Counts.from_json(checks.token_counts(source.order(), str(source.model)))
        with self._lock:
            if sample.is_sample:
                self._samples[key] = sample
                self._count_in_background(source, key)
            else:
                sample.save(self._file(key))
                self._known[key] = sample
            for cache in (self._known, self._samples):
                while len(cache) > _KEPT_FILES:
                    del cache[next(iter(cache))]
        return sample

    def close(self) -> None:
        """End what counts in the background."""
        self._background.close()

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _kept(self, key: str) -> Counts | None:
        file = self._file(key)
        try:
            counts = Counts.load(file)
            os.utime(file)
        except (OSError, ValueError):
            return None
        self._known[key] = counts
        self._samples.pop(key, None)
        return counts

    def _count_in_background(self, source: CountSource, key: str) -> None:
        """One file at a time, by a worker beside those that users wait for."""
        if self._busy is not None and self._busy.is_alive():
            return
        if key in self._failed:
            return
        self._failed.add(key)  # until its file is there: what failed once is not tried at each question
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = [file for file in self._folder.glob("*.npz") if _COUNTS.fullmatch(file.name)]
        kept.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[_KEPT_FILES - 1 :]:
            discard_file(old)
        order = source.order() | {"target": str(self._file(key))}
        self._busy = threading.Thread(target=self._count, args=(source, order), name="counting", daemon=True)
        self._busy.start()

    def _count(self, source: CountSource, order: dict[str, Any]) -> None:
        try:
            self._background.run(
                "count_into", order, about=str(source.model), limits=Limits(seconds=_TIME_LIMIT)
            )
        except (TunesmithError, OSError) as error:
            logger.info("%s was not counted whole: %s", source.file, error)
