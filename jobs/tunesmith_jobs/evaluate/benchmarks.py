"""Standard benchmarks of candidates: a Ray Task each, which has lm-eval do it in a process of its own; kept by content.

A benchmark is somebody else's program over somebody else's data: what fails costs its figures and never the evaluation.
Knows who is asked and what is kept; knows nothing of lm-eval but its name.
"""

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.availability import BENCHMARKS_CURE, BENCHMARKS_PROBLEM, LM_EVAL
from tunesmith.errors import InvalidInput
from tunesmith.evaluation.benchmark_names import refuse
from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.results import BenchmarkScore
from tunesmith.removal import discard, remove_own
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith_jobs.activities import Doing
from tunesmith_jobs.evaluate import shard
from tunesmith_jobs.evaluate.answers import Kept, Line
from tunesmith_jobs.evaluate.entrants import Entrant
from tunesmith_jobs.evaluate.fan import Fan, spread

_CHILD = "tunesmith_jobs.evaluate.lm_eval_child"
_FORMAT = 1
"""Rises when the same model and benchmark would give other figures."""
_PASSED_ON = (
    "PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TMPDIR", "XDG_CACHE_HOME",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE",
)  # fmt: skip
"""What of our environment the process has: what reaches the hub, and no secret of the platform's or a judge's."""
_OFFLINE = "HF_HUB_OFFLINE"
_STARTED_WITH = Path("/proc/self/environ")
_TAIL = 2000
_log = logging.getLogger("tunesmith_jobs.evaluate")


class KeptFigures(Line):
    """A candidate's figures of one benchmark, as they are kept."""

    found: list[BenchmarkScore]


class Benchmarks:
    """Has candidates take benchmarks.

    Args:
        spec: Which, and how.
        document: The task, and a benchmark of its user's.
        fan: Has it done.
        folder: Where figures are kept.
        scratch: The attempt's.
    """

    def __init__(
        self, spec: EvaluateSpec, document: EvaluationDocument, fan: Fan, folder: Path, scratch: Path
    ) -> None:
        self._spec, self._own, self._fan = spec, document.own_benchmark, fan
        self._task_id, self._folder, self._scratch = document.task_id, folder, scratch
        self.version = ""
        """lm-eval's, once it was looked at."""

    @property
    def names(self) -> list[str]:
        """Those of lm-eval's own that are taken."""
        return list(dict.fromkeys(self._spec.benchmarks or ()))

    @property
    def each(self) -> int:
        """How many a candidate takes."""
        return len(self.names) + (self._own is not None)

    def look(self, check: Callable[[], None]) -> None:
        """See that lm-eval is there and knows every name, before anything is computed.

        Raises:
            InvalidInput: It is not, or does not.
        """
        ((_, found),) = spread(self._fan, iter([("look", run, self._order("look"))]), check)
        self.version = found["version"]
        refuse(found["unknown"], self.version)

    def take(
        self,
        entrants: Sequence[Entrant],
        handed: Callable[[Entrant], str],
        check: Callable[[], None],
        doing: Doing,
    ) -> dict[str, str]:
        """Have what is missing taken; the entrants' results hold the figures then.

        Args:
            entrants: The candidates, each with its result.
            handed: Writes the document that a candidate's work is handed.
            check: Raises where the work is not wanted any more; what is there is kept.
            doing: Told how many benchmarks are done.

        Returns:
            Why a benchmark has no figures, by what failed: `LABEL: BENCHMARK`.
        """
        kept = Kept(self._folder, "benchmarks", KeptFigures)
        failed: dict[str, str] = {}
        orders = []
        for entrant in entrants:
            self._lay_beside(entrant, kept)
            names, own = self._missing(entrant, kept)
            if names or own is not None:
                order = self._order("take") | {"document": handed(entrant), "names": names, "own": own}
                orders.append((entrant, run, order))
        missing = sum(len(order["names"]) + (order["own"] is not None) for _, _, order in orders)
        doing.done = self.each * len(entrants) - missing
        for entrant, made in spread(self._fan, iter(orders), check):
            kept.add(
                KeptFigures(key=self._key(entrant, name), found=found)
                for name, found in made["found"].items()
            )
            label = entrant.document.candidate.label
            failed |= {f"{label}: {name}": why for name, why in made["failed"].items()}
            doing.done += len(made["found"]) + len(made["failed"])
            self._lay_beside(entrant, kept)
        return failed

    def _lay_beside(self, entrant: Entrant, kept: Kept[KeptFigures]) -> None:
        """Put what is known of a candidate beside its scores: a stop leaves the figures that are there."""
        assert entrant.result is not None
        known = (kept.known.get(self._key(entrant, name)) for name in self._every)
        figures = tuple(one for found in known if found is not None for one in found.found)
        entrant.result = entrant.result.model_copy(update={"benchmarks": figures})

    @property
    def _every(self) -> list[str]:
        return self.names + ([self._own["task"]] if self._own is not None else [])

    def _missing(self, entrant: Entrant, kept: Kept[KeptFigures]) -> tuple[list[str], dict[str, Any] | None]:
        names = [name for name in self.names if self._key(entrant, name) not in kept.known]
        own = self._own
        if own is not None and self._key(entrant, own["task"]) in kept.known:
            own = None
        return names, own

    def _key(self, entrant: Entrant, name: str) -> str:
        """What tells a candidate's figures of a benchmark by all that decides them."""
        own = self._own if self._own is not None and self._own["task"] == name else None
        told = [
            *(_FORMAT, self.version, entrant.document.candidate.sha256, name),
            *(own, _files_of(own), self._spec.benchmark_limit, self._spec.benchmark_shots),
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _order(self, what: str) -> dict[str, Any]:
        return {
            "what": what,
            "task_id": self._task_id,
            "names": self.names,
            "limit": self._spec.benchmark_limit,
            "shots": self._spec.benchmark_shots,
            "batch_size": self._spec.per_device_eval_batch_size,
            "scratch": str(self._scratch),
        }


def _files_of(own: dict[str, Any] | None) -> list[str]:
    """The sums of a benchmark's files of rows."""
    if own is None:
        return []
    given = own["dataset_kwargs"]["data_files"]
    files = [given] if isinstance(given, str) else [given[split] for split in sorted(given)]
    return [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]


def _set_at_start(name: str) -> str | None:
    """A variable as its administrator gave it to this process: our own libraries' switches have shut the hub since."""
    try:
        started = _STARTED_WITH.read_bytes()
    except OSError:  # no Linux
        return os.environ.get(name)
    for item in started.split(b"\0"):
        if item.startswith(f"{name}=".encode()):
            return item.partition(b"=")[2].decode(errors="replace")
    return None


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Have lm-eval do an order, in a process of its own: see `lm_eval_child`. Runs as a Ray Task.

    Args:
        order: As `lm_eval_child` takes it; and `what` (`look` or `take`), `task_id`, `cpus`.

    Raises:
        InvalidInput: lm-eval is not installed where it runs.
        RuntimeError: The process ended without an answer.
    """
    if importlib.util.find_spec(LM_EVAL) is None:
        raise InvalidInput(BENCHMARKS_PROBLEM, hint=BENCHMARKS_CURE, field="benchmarks")
    shard.forget()  # a whole model is loaded beside
    folder = shard.own_folder(order["scratch"]) / "benchmarks"
    remove_own(folder, order["task_id"])
    folder.mkdir(parents=True)
    asked, answer, said = folder / "order.json", folder / "answer.json", folder / "said.txt"
    asked.write_text(json.dumps(order | {"scratch": str(folder)}), encoding="utf-8")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Both are read: one of them shuts the hub.
    environment |= dict.fromkeys((_OFFLINE, "TRANSFORMERS_OFFLINE"), _set_at_start(_OFFLINE) or "0")
    environment |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(max(1, int(order["cpus"])))}
    command = [sys.executable, "-P", "-m", _CHILD, order["what"], str(os.getpid()), str(asked), str(answer)]
    try:
        with said.open("wb") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
            )
        if done.returncode or not answer.is_file():
            words = said.read_bytes()[-_TAIL:].decode(errors="replace")
            _log.warning("lm-eval ended with %d: %s", done.returncode, words)
            raise RuntimeError(f"lm-eval ended with {done.returncode}: {words.strip()[-500:]}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found
    finally:
        discard(folder, order["task_id"])
