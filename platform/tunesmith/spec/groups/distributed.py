"""Training on several processes, GPUs or nodes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tunesmith.spec import restarts
from tunesmith.spec.base import Spec
from tunesmith.spec.parameter import Condition, Fold, Group, param, when, when_not
from tunesmith.spec.roles import Role

MAX_WORKERS = 1024


def _workers(given: Any) -> Any:
    """A number of workers, or a range of them as `least:most`."""
    parts = str(given).split(":")
    is_range = isinstance(given, str) and len(parts) == 2
    if isinstance(given, bool) or not all(part.strip().isdecimal() for part in parts) or len(parts) > 2:
        raise ValueError("It is a number, or a range as `2:4`")
    numbers = [int(part) for part in parts]
    if not 1 <= numbers[0] <= numbers[-1] <= MAX_WORKERS:
        raise ValueError(f"Workers are 1 to {MAX_WORKERS}, the smaller number of a range first")
    return f"{numbers[0]}:{numbers[1]}" if is_range and numbers[0] < numbers[1] else numbers[0]


def _stage(given: Any) -> Any:
    return int(given) if isinstance(given, str) and given.strip().isdecimal() else given


Workers = Annotated[
    Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Annotated[str, Field(pattern=r"^\d{1,6}:\d{1,6}$")],
    BeforeValidator(_workers),
]
Stage = Annotated[Literal[0, 1, 2, 3], BeforeValidator(_stage)]


class DistributedParameters(Spec):
    """How many train together, where, and what they share out."""

    num_workers: Workers = param(
        1,
        label=("Number of workers (GPUs)", "训练节点进程数"),
        help=(
            "Processes that train together; a range as `2:4` lets their number follow the cluster at the same "
            "effective batch.",
            "共同训练的进程数；范围如 2:4 表示随集群伸缩，有效批次不变。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        ui=(1, MAX_WORKERS),
        aliases=("ray_num_workers", "num_gpus"),
    )
    resources_per_worker: dict[str, float] | None = param(
        None,
        label=("Resources per worker", "每进程资源"),
        help=(
            'Ray resources of a worker, as `{"CPU": 2}`; empty: one GPU, or an even share of a node\'s CPUs.',
            '每个进程的 Ray 资源，例如 {"CPU": 2}；留空：1 个 GPU 或平均分配的 CPU。',
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
    )
    placement: Literal["pack", "spread"] = param(
        "pack",
        label=("Placement of workers", "进程放置方式"),
        help=(
            "`pack` puts the workers on as few nodes as possible, `spread` on as many.",
            "pack 尽量集中到少数节点，spread 尽量分散。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
        visible_when=when_not(num_workers=1),
    )
    deepspeed_stage: Stage = param(
        0,
        label=("DeepSpeed ZeRO stage", "DeepSpeed ZeRO 阶段"),
        help=(
            "What the workers share out: 1 the optimizer's state, 2 gradients too, 3 weights too; 0 turns DeepSpeed "
            "off.",
            "由各进程分摊的内容：1 优化器状态，2 加梯度，3 加权重；0 表示不使用 DeepSpeed。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("ds_stage",),
        visible_when=when(deepspeed=None),
    )
    deepspeed_offload: Literal["none", "optimizer_cpu", "optimizer_and_param_cpu", "nvme"] = param(
        "none",
        label=("ZeRO offload", "ZeRO 卸载"),
        help=(
            "Where ZeRO puts what a GPU cannot hold: main memory, or a disk.",
            "显存放不下的内容卸载到内存或磁盘。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("ds_offload",),
        visible_when=(
            Condition(field="deepspeed_stage", op="ge", value=2),
            *when(deepspeed=None),
        ),
    )
    deepspeed: str | None = param(
        None,
        label=("DeepSpeed config path", "DeepSpeed配置路径"),
        help=(
            "A DeepSpeed configuration of your own as a JSON file; it replaces stage and offload.",
            "自定义 DeepSpeed JSON 配置文件，取代阶段与卸载设置。",
        ),
        group=Group.DISTRIBUTED,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("deepspeed_config",),
        path="if_exists",
        min_length=1,
    )
    max_restarts: int = restarts.max_restarts(
        (
            "How often a lost worker or job is started again from the last good checkpoint.",
            "进程或作业丢失后，从最近的有效检查点自动重启的次数。",
        ),
        group=Group.DISTRIBUTED,
        roles={Role.NO_STEP_COST},
    )
