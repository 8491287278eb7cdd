"""Which part is hurt, how, and in which phase of a task: a pure function of the seed.

The cells (part, harm, phase) are dealt out in one fixed order, two a seed, so that as many seeds as half the cells
cover every cell once, and a seed is the same episode for ever. `packed` deals out some cells in fewer episodes: those
that were not reached yet. Knows no process and no platform.
"""

import random
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Part(StrEnum):
    """What can be hurt."""

    API = "api"
    SUPERVISOR = "supervisor"
    GCS = "gcs"
    RAYLET = "raylet"
    MLFLOW = "mlflow"
    EVERYTHING = "everything"
    DRIVER = "driver"
    CONTROLLER = "controller"
    WORKER = "worker"
    DATABASE = "database"
    DISK = "disk"
    STORAGE = "storage"


class Harm(StrEnum):
    """What is done to it."""

    KILL = "kill"
    """SIGKILL."""
    SUSPEND = "suspend"
    """SIGSTOP for some seconds."""
    LOCK = "lock"
    """Another connection holds the write lock for some seconds."""
    FILL = "fill"
    """No byte is free for some seconds."""


class Phase(StrEnum):
    """Where a task is, in order."""

    QUEUED = "queued"
    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    STOPPING = "stopping"
    FINISHING = "finishing"
    ENDED = "ended"


class Cell(NamedTuple):
    """One thing that happens in an episode."""

    part: Part
    harm: Harm
    phase: Phase

    def __str__(self) -> str:
        return f"{self.harm} {self.part} while {self.phase}"


class Episode(NamedTuple):
    """What happens to one task."""

    seed: int
    cells: tuple[Cell, ...]
    """In the order of their phases."""
    delay: float
    """Seconds between the beginning of a phase and the harm."""

    @property
    def is_stopped(self) -> bool:
        """Whether the user stops the task in the middle, and lets it go on afterwards."""
        is_due = self.seed >= 0 and self.seed % 5 == 4  # what nothing happens to has a negative one
        return is_due or any(cell.phase is Phase.STOPPING for cell in self.cells)


CELLS_A_SEED = 2
PACKED_CELLS = 6
"""The most cells of an episode that is packed."""
_PACKED_ENDINGS = 3
"""The most cells of one that cost an attempt each: more would use up the task's restarts."""
_RUNS = (Phase.STARTING, Phase.TRAINING, Phase.EVALUATING, Phase.SAVING, Phase.STOPPING, Phase.FINISHING)
_HELD = (Phase.TRAINING, Phase.SAVING, Phase.STOPPING)
_OBSERVERS = (Part.API, Part.SUPERVISOR, Part.GCS, Part.RAYLET, Part.MLFLOW, Part.EVERYTHING)
_QUIET = frozenset({Part.API, Part.SUPERVISOR, Part.MLFLOW, Part.DATABASE})
"""What a training outlives."""
_FIRST = (
    Cell(Part.API, Harm.KILL, Phase.TRAINING),
    Cell(Part.WORKER, Harm.KILL, Phase.SAVING),
    Cell(Part.DATABASE, Harm.LOCK, Phase.TRAINING),
    Cell(Part.DRIVER, Harm.KILL, Phase.EVALUATING),
)
"""Dealt out to the first seeds."""
DAILY = (
    Cell(Part.DATABASE, Harm.LOCK, Phase.STARTING),
    Cell(Part.DRIVER, Harm.KILL, Phase.TRAINING),
    Cell(Part.API, Harm.KILL, Phase.EVALUATING),
    Cell(Part.WORKER, Harm.KILL, Phase.SAVING),
)
"""What `make test` sees to on every day: in one episode, so each in a phase of its own.

Not the driver just before the worker: a step at which the task evaluates is one at which it saves, and the worker that
is looked for is then the one that is going with its driver.
"""


def every_cell(*, s3: bool = False) -> list[Cell]:
    """All cells, in the order in which they are dealt out.

    Args:
        s3: Whether the storage is a server that can be hurt.
    """
    if s3:
        return [Cell(Part.STORAGE, Harm.SUSPEND, phase) for phase in (*_RUNS, Phase.ENDED)]
    cells = [Cell(part, Harm.KILL, phase) for part in _OBSERVERS for phase in Phase]
    cells += [
        Cell(part, Harm.KILL, phase)
        for part in (Part.DRIVER, Part.CONTROLLER, Part.WORKER)
        for phase in _RUNS
    ]
    cells += [
        Cell(part, Harm.SUSPEND, phase) for part in (Part.API, Part.MLFLOW, Part.WORKER) for phase in _HELD
    ]
    cells += [Cell(Part.DATABASE, Harm.LOCK, phase) for phase in Phase]
    cells += [Cell(Part.DISK, Harm.FILL, phase) for phase in (*_RUNS, Phase.ENDED)]
    rest = [cell for cell in cells if cell not in _FIRST]
    random.Random("cells").shuffle(rest)
    return [*_FIRST, *rest]


def episode(seed: int, *, s3: bool = False) -> Episode:
    """What happens under a seed."""
    cells = every_cell(s3=s3)
    begin = seed * CELLS_A_SEED
    return _of(seed, {cells[(begin + i) % len(cells)] for i in range(CELLS_A_SEED)})


def packed(cells: Iterable[Cell], first: int) -> list[Episode]:
    """Episodes that reach every one of some cells, each once, several an episode and at most one a phase.

    Args:
        cells: Which.
        first: The seed of the first episode.
    """
    groups: list[set[Cell]] = []
    for cell in cells:
        group = next((group for group in groups if _fits(cell, group)), None)
        if group is None:
            groups.append({cell})
        else:
            group.add(cell)
    return [_of(seed, group) for seed, group in enumerate(groups, start=first)]


def ends_attempt(cell: Cell) -> bool:
    """Whether a task may have to go on with another attempt afterwards."""
    return cell.part not in _QUIET


def _fits(cell: Cell, group: set[Cell]) -> bool:
    has_room = len(group) < PACKED_CELLS and cell.phase not in {other.phase for other in group}
    endings = sum(ends_attempt(other) for other in group)
    return has_room and not (ends_attempt(cell) and endings == _PACKED_ENDINGS)


def _of(seed: int, cells: Iterable[Cell]) -> Episode:
    order = list(Phase)
    return Episode(
        seed,
        tuple(sorted(cells, key=lambda cell: (order.index(cell.phase), cell.part))),
        delay=random.Random(seed).choice((0.0, 0.0, 0.02, 0.1, 0.3)),
    )
