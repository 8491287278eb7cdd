"""Every parameter of packaging a model, declared once.

Knows parameters; knows nothing of how weights are merged.
"""

from typing import Literal

from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.roles import Role


class PackageSpec(ModelUseSpec):
    """Write a complete model folder: an adapter is merged into its base."""

    format: Literal["safetensors"] = param(
        "safetensors",
        label=("Format", "格式"),
        help=(
            "What the folder holds: `safetensors`, as transformers reads it.",
            "模型目录的格式：safetensors。",
        ),
        group=Group.BASIC,
        roles=(),
        refused_values={
            "gguf": (
                "GGUF files are not made yet.",
                "Use `format: safetensors`; llama.cpp's `convert_hf_to_gguf.py` reads the folder that is written.",
            ),
        },
    )
    output_dir: str | None = param(
        None,
        label=("Output directory", "输出目录"),
        help=(
            "Where the model is published besides the platform's own storage. Must lie inside an allowed root.",
            "除平台存储外，模型的发布目录，必须位于允许的根目录内。",
        ),
        group=Group.BASIC,
        fold=Fold.OPTIONAL,
        roles={Role.PLACE, Role.ONE_TASK, Role.RESOLVED},
        path="always",
        min_length=1,
    )


PACKAGE = Kind(
    name="package",
    label=("Package", "打包"),
    spec=PackageSpec,
    behaviour="tunesmith_platform.tasks.kinds.package:Packaging",
    program="tunesmith_jobs.package.program:Packaging",
    room=Room.MODEL,
    supports=frozenset({Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-packager",
    next_step="Load the folder with transformers, or serve it.",
)
