"""What a kind of task is, and which kinds are installed.

A kind is declared once, in the module of its parameters: its name, its room on the cluster, what it supports, and where
its other two parts lie: what the platform does with it (`behaviour`) and what its attempts do (`program`). Packages
name their declarations in the entry-point group `GROUP`; what is named there is a kind. Knows no kind.
"""

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler

from tunesmith.errors import InvalidInput
from tunesmith.spec.base import Spec
from tunesmith.spec.problems import did_you_mean

GROUP = "tunesmith.kinds"
"""The entry-point group: a kind's name, and its declaration as `module:attribute`."""
DEFAULT_KIND = "train"
"""The kind of a task that does not say."""


class Room(StrEnum):
    """Where jobs find place on the cluster, each with a bound of its own, so that no kind keeps another out."""

    TRAIN = "train"
    MODEL = "model"
    DATA = "data"
    CHAT = "chat"
    PROOF = "proof"


class Feature(StrEnum):
    """What a kind supports besides what all do (start, report, stop, start again, delete)."""

    CHECKPOINTS = "checkpoints"
    """Its attempts save checkpoints. A stop keeps what was done, another attempt goes on there, the quota counts them,
    and each is a model that other tasks may use."""
    CLONE = "clone"
    """A task is its parameters: another one can be made from them, and two can be compared."""
    RUN = "run"
    """It is shown in MLflow, as a run."""
    WARM = "warm"
    """A warm runner may do its work: it begins with importing what such a process has imported already."""


def _no_saves(_spec: Any, _rows: int, _step: int, _total: int | None) -> int:
    return 0


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        name: What the API, files and the database call it.
        label: Its name in English and Chinese.
        spec: Its parameters.
        behaviour: The class that the platform asks about it, as `module:class` (`KindBehaviour`).
        program: The class that the one runner asks what its attempts do, as `module:class` (`tunesmith_jobs.program`).
        room: Where its jobs find place.
        supports: What it supports.
        component: The type of a pipeline's component that makes such a task; None for none.
        next_step: What its user may do when one has completed; the platform's own words when None.
        former: What it was called before; pipelines and queued attempts that say so are still read.
        former_component: The same of its component.
        stem: What a task without a name is called after.
        saves_left: How many checkpoints a task plans after a step, or what else the quota counts as one; of its
            parameters, its rows, the step, and the number of all steps where it is known.
    """

    name: str
    label: tuple[str, str]
    spec: type[Spec]
    behaviour: str
    program: str
    room: Room
    supports: frozenset[Feature] = frozenset()
    component: str | None = None
    next_step: str | None = None
    former: tuple[str, ...] = ()
    former_component: tuple[str, ...] = ()
    stem: Callable[[Any], str] | None = None
    saves_left: Callable[[Any, int, int, int | None], int] = field(default=_no_saves)

    def default_name(self, spec: Spec, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return f"{self.stem(spec) if self.stem else self.name}_{now:%Y%m%d_%H%M%S}"

    def new(self, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """What is sent to create such a task: its parameters, and whatever else is said of the task."""
        return {"kind": self.name, "spec": dict(spec), **more}


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Every installed kind by its name.

    Raises:
        RuntimeError: None is: what is installed is older than the code.
    """
    found = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    if not found:
        raise RuntimeError(f"No `{GROUP}` are installed. Install the project again: `make setup`.")
    wrong = [name for name, kind in found.items() if not isinstance(kind, Kind) or kind.name != name]
    if wrong:
        raise RuntimeError(f"The entry points {wrong} of `{GROUP}` name no kind of that name.")
    return MappingProxyType(dict(sorted(found.items())))


@functools.cache
def former_kinds() -> Mapping[str, str]:
    """What kinds were called before, with their names of today."""
    return {former: kind.name for kind in kinds().values() for former in kind.former if former not in kinds()}


@functools.cache
def former_components() -> Mapping[str, str]:
    """What types of components were called before, with those of today."""
    return {former: name for name, kind in components().items() for former in kind.former_component}


@functools.cache
def components() -> Mapping[str, Kind]:
    """The types of components in pipelines, with the kinds of the tasks that they make."""
    return {kind.component: kind for kind in kinds().values() if kind.component}


def name_of_today(name: str) -> str:
    """A kind's name for one that may be what it was called before."""
    return name if name in kinds() else former_kinds().get(name, name)


@functools.cache
def supporting(feature: Feature) -> tuple[str, ...]:
    """The names of the kinds that support something."""
    return tuple(name for name, kind in kinds().items() if feature in kind.supports)


@functools.cache
def in_room(room: Room) -> tuple[str, ...]:
    """The names of the kinds whose jobs share a room."""
    return tuple(name for name, kind in kinds().items() if kind.room is room)


def kind_of(name: str) -> Kind:
    """A kind by its name.

    Raises:
        InvalidInput: No such kind is installed.
    """
    found = kinds().get(name)
    if found is None:
        meant = did_you_mean(name, list(kinds()))
        listed = ", ".join(f"`{known}`" for known in kinds())
        hint = f"Did you mean `{meant}`?" if meant else f"There are {listed}."
        raise InvalidInput(f"There is no kind of task `{name[:40]}`.", hint=hint, field="kind")
    return found


class _Listed:
    """Shows a kind's name as one of those that are installed."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": list(kinds())}


def _known(name: str) -> str:
    try:
        return kind_of(name).name
    except InvalidInput as error:
        raise ValueError(f"No such kind of task is installed. {error.hint}") from None


KindName = Annotated[str, AfterValidator(_known), _Listed]
"""The name of an installed kind."""
