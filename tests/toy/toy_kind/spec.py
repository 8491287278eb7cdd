"""Its parameters and its declaration: what the contract, the command line and the API need to know."""

from tunesmith.spec.base import Spec
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.parameter import Group, param


class CountSpec(Spec):
    """Count, and save a number as a checkpoint."""

    to: int = param(
        label=("Count to", "计数上限"),
        help=("The last number.", "最后一个数。"),
        group=Group.BASIC,
        roles=(),
        ge=1,
        le=1000,
    )
    save_steps: int = param(
        2,
        label=("Save every", "保存间隔"),
        help=("Numbers between two checkpoints.", "两个检查点之间的数。"),
        group=Group.BASIC,
        roles=(),
        aliases=("every",),
        ge=1,
        le=1000,
    )
    max_restarts: int = param(
        1,
        label=("Maximum restarts", "最大重启次数"),
        help=("How often a lost job is started again.", "作业丢失后自动重启的次数。"),
        group=Group.GENERAL,
        roles=(),
        ge=0,
        le=10,
    )


def _saves_left(spec: CountSpec, _rows: int, step: int, _total: int | None) -> int:
    return spec.to // spec.save_steps - step // spec.save_steps


COUNT = Kind(
    name="count",
    label=("Counting", "计数"),
    spec=CountSpec,
    behaviour="toy_kind.behaviour:Counting",
    program="toy_kind.program:Counting",
    room=Room.MODEL,
    supports=frozenset({Feature.CHECKPOINTS, Feature.CLONE, Feature.RUN}),
    component="counter",
    next_step="Count further.",
    saves_left=_saves_left,
)
