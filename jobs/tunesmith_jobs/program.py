"""What the attempts of a kind do, as the one runner asks it: their document, what their workers need, the work itself.

A kind names its class in its declaration (`Kind.program`). Drivers read that too: importing it imports no torch, and
neither does asking what is needed. Knows documents and outlets; knows no kind, and nothing of Ray.
"""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tunesmith.job import AttemptDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import kind_of
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.outlet import Outlet

_Document = TypeVar("_Document", bound=AttemptDocument)


@dataclass(frozen=True)
class Needs:
    """What the workers of an attempt reserve, and what becomes of one that is lost.

    Attributes:
        device: What the task asks for: `auto`, `cpu` or `gpu`.
        can_use_gpu: Whether a GPU is of use, where the cluster has one.
        workers: How many there are at the least and at the most. With a range Ray takes what there is.
        is_group: Whether one that is alone needs a process group too.
        per_worker: What a worker is to reserve, by Ray's names; one GPU, or its share of the processors, when None.
        placement: How they are spread over the nodes, as Ray calls it.
        is_beside: Whether they find place beside a training: they take no more than what that leaves.
        restarts: How often one that was lost is started again in the same attempt; None: the attempt ends, and the
            platform makes another.
    """

    device: str = "auto"
    can_use_gpu: bool = True
    workers: tuple[int, int] = (1, 1)
    is_group: bool = False
    per_worker: Mapping[str, float] | None = None
    placement: str = "PACK"
    is_beside: bool = False
    restarts: int | None = None

    @property
    def is_single(self) -> bool:
        """Whether an attempt is one process that talks to no other."""
        return self.workers == (1, 1) and not self.is_group


@dataclass(frozen=True)
class WorkerContext:
    """Which of an attempt's workers a process is, and what its cluster says.

    Attributes:
        scratch: A folder of the attempt's own on this node.
        rank: Which of the workers; the first one speaks for the attempt.
        restart: How often it was started before in this attempt.
        is_drained: Says whether the cluster has announced that a worker's node goes away.
        uri: Of the attempt's document, for processes that the work starts itself; empty where there is none.
    """

    scratch: Path
    rank: int = 0
    restart: int = 0
    is_drained: Callable[[], bool] = lambda: False
    uri: str = ""


class Program(ABC, Generic[_Document]):
    """What the attempts of a kind do. A kind says `document` and `work`, and the rest where it differs."""

    document: type[_Document]
    """What an attempt is handed."""

    def needs(self, document: _Document) -> Needs | None:
        """What the workers of an attempt reserve; None: the work is done in the driver's own process, without Ray."""
        return None

    def log_level(self, document: _Document) -> str:
        """The least level of the lines that go to the task's log."""
        return "info"

    def prepare_main_thread(self) -> None:
        """Set up the main thread of a worker's process, where the work may be done in another thread."""

    def warm_up(self, folder: Path, *, can_compute: bool) -> None:
        """Load what the work loads, before there is any: once in a warm runner's life.

        Args:
            folder: Empty, and gone afterwards.
            can_compute: Whether something may be computed; not where a GPU is still to be given.
        """

    @abstractmethod
    def work(self, document: _Document, outlet: Outlet, context: WorkerContext) -> Outcome:
        """Do what an attempt asks for; says how it ended. Whatever it raises becomes an outcome (`failures`).

        Args:
            document: What the attempt was handed.
            outlet: Takes the events; says what the user wants. It is to be asked about once a second.
            context: Which of the workers this is.

        Raises:
            Stopped: The user wanted it stopped.
            Superseded: The attempt is over for the control plane.
        """


@dataclass(frozen=True)
class Attempt:
    """An attempt as its processes know it.

    Attributes:
        uri: Of its document, by which each process reads it.
        document: What it was handed.
        program: What it does.
    """

    uri: str
    document: AttemptDocument
    program: Program[Any]

    @classmethod
    def read(cls, uri: str) -> "Attempt":
        """The attempt whose document lies at a URI.

        Raises:
            NotFound: There is none.
            InvalidInput: Its kind is not installed here.
        """
        data = read_bytes(uri)
        program = program_of(AttemptDocument.model_validate_json(data).kind)
        return cls(uri, program.document.model_validate_json(data), program)

    @classmethod
    def of(cls, document: AttemptDocument) -> "Attempt":
        """The attempt of a document that was read already, for a process that starts no other."""
        return cls("", document, program_of(document.kind))

    @property
    def needs(self) -> Needs | None:
        """See `Program.needs`."""
        return self.program.needs(self.document)

    @property
    def scratch(self) -> Path:
        """The folder of its own on a node."""
        return Path(self.document.work_dir) / "scratch" / str(self.document.attempt)


def program_of(kind: str) -> Program[Any]:
    """What the attempts of a kind do.

    Raises:
        InvalidInput: No such kind is installed.
    """
    made: Program[Any] = pkgutil.resolve_name(kind_of(kind).program)()
    return made
