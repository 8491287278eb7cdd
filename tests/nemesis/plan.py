"""Which part is hurt, how, and in which phase of a task: a pure function of the seed.

The cells (part, harm, phase) are dealt out in one fixed order, two a seed, so that as many seeds as half the cells
cover every cell once, and a seed is the same episode for ever. Knows no process and no platform.
"""

import random
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
        return any(cell.phase is Phase.STOPPING for cell in self.cells) or self.seed % 5 == 4


CELLS_A_SEED = 2
_RUNS = (Phase.STARTING, Phase.TRAINING, Phase.EVALUATING, Phase.SAVING, Phase.STOPPING, Phase.FINISHING)
_HELD = (Phase.TRAINING, Phase.SAVING, Phase.STOPPING)
_OBSERVERS = (Part.API, Part.SUPERVISOR, Part.GCS, Part.RAYLET, Part.MLFLOW, Part.EVERYTHING)
_FIRST = (
    Cell(Part.API, Harm.KILL, Phase.TRAINING),
    Cell(Part.WORKER, Harm.KILL, Phase.SAVING),
    Cell(Part.DATABASE, Harm.LOCK, Phase.TRAINING),
    Cell(Part.DRIVER, Harm.KILL, Phase.EVALUATING),
)
"""What `make test` sees to on every day."""


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
    order = list(Phase)
    mine = {cells[(begin + i) % len(cells)] for i in range(CELLS_A_SEED)}
    chance = random.Random(seed)
    return Episode(
        seed,
        tuple(sorted(mine, key=lambda cell: (order.index(cell.phase), cell.part))),
        delay=chance.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
    )
