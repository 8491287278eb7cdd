"""Every parameter of packaging a model, declared once: a model folder, or GGUF files for llama.cpp.

A preset says what is written; `custom` lets each of its parts be chosen. Knows parameters; knows nothing of how weights
are merged or files are written.
"""

from collections.abc import Mapping
from typing import Any, Literal

from tunesmith.errors import Problem
from tunesmith.spec.base import Notice
from tunesmith.spec.kinds import Feature, Kind, Room
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.package_choices import CUSTOM, FOLDER, GAIN_BY_MATRIX, NEED_MATRIX, PRESETS, QuantType
from tunesmith.spec.package_problems import unfit_parts, without_files, without_matrix
from tunesmith.spec.parameter import Fold, Group, param, when
from tunesmith.spec.roles import Role

SPLIT_SIZE = r"^[1-9][0-9]{0,5}[MG]$"
"""How a file's size is written, as llama.cpp's own tool reads it: `500M`, `2G`, in steps of a thousand."""
_AUTO, _NONE = "auto", "none"
TRAINING_ROWS = "training"
"""What an importance matrix is computed of where it is the rows that the model was trained on."""
_UNAFFECTED = ("", "F32", "F16", "BF16", "Q8_0")
"""Types that store the same with and without an importance matrix."""


def _by_preset(name: str) -> list[tuple[Any, Any]]:
    return [(when(preset=preset), decided[name]) for preset, decided in PRESETS.items()]


class PackageSpec(ModelUseSpec):
    """Write a model for others: a complete model folder, or GGUF files, which llama.cpp reads."""

    preset: Literal[
        "model_folder", "merge_and_quantize", "merge_only", "quantize_base", "lora_only", "custom"
    ] = param(
        FOLDER,
        label=("Configuration template", "配置模板"),
        help=(
            "What is written. `tunesmith package` takes `merge_and_quantize` where none is given; a pipeline's step "
            "that names none writes a model folder, as it always did.",
            "输出内容。命令 tunesmith package 默认使用 merge_and_quantize；"
            "未指定模板的流水线步骤仍输出模型目录。",
        ),
        group=Group.BASIC,
        roles=(),
        choice_help={
            "model_folder": (
                "A complete model folder in safetensors; an adapter is merged into its base.",
                "safetensors 格式的完整模型目录；适配器合并到基础模型。",
            ),
            "merge_and_quantize": (
                "A GGUF file of the merged model, in the types of `quant_types`.",
                "合并后的模型，按 quant_types 生成量化的 GGUF 文件。",
            ),
            "merge_only": (
                "A GGUF file of the merged model in F16.",
                "合并后的模型，生成 F16 的 GGUF 文件。",
            ),
            "quantize_base": (
                "A GGUF file of the base model, without the adapter, in the types of `quant_types`.",
                "基础模型（不含适配器），按 quant_types 生成量化的 GGUF 文件。",
            ),
            "lora_only": (
                "A GGUF file of the adapter alone, for a file of its base.",
                "仅将适配器生成 GGUF 文件，与基础模型的文件配合使用。",
            ),
            "custom": ("Each part is chosen by itself.", "逐项选择。"),
        },
    )
    format: Literal["safetensors"] = param(
        "safetensors",
        label=("Format", "格式"),
        help=(
            "What the model folder holds: `safetensors`, as transformers reads it.",
            "模型目录的格式：safetensors。",
        ),
        group=Group.BASIC,
        roles=(),
        visible_when=when(preset=FOLDER),
        refused_values={
            "gguf": (
                "a model folder holds safetensors; GGUF files are another preset.",
                "Use `preset: merge_and_quantize`, or `merge_only` for an unquantised file.",
            ),
        },
    )
    merge_lora: bool = param(
        True,
        label=("Merge LoRA weights to base model", "合并 LoRA 权重到基础模型"),
        help=(
            "Add the adapter to the base's weights, in fp32, as the file is written. Off writes the base alone.",
            "写文件时以 fp32 将适配器加到基础模型权重上；关闭则只写基础模型。",
        ),
        group=Group.GENERAL,
        roles=(),
        default_when=_by_preset("merge_lora"),
        visible_when=when(preset=CUSTOM),
    )
    export_gguf: bool = param(
        True,
        label=("Export base model as GGUF", "导出基础模型为 GGUF 格式"),
        help=("Write GGUF files of the whole model.", "将完整模型写为 GGUF 文件。"),
        group=Group.GENERAL,
        roles=(),
        default_when=_by_preset("export_gguf"),
        visible_when=when(preset=CUSTOM),
    )
    quantize: bool = param(
        True,
        label=("Quantize model", "量化模型"),
        help=(
            "Write a file of each type in `quant_types`; off writes one unquantised file (F16).",
            "为 quant_types 中的每种类型各写一个文件；关闭则只写一个未量化的文件（F16）。",
        ),
        group=Group.GENERAL,
        roles=(),
        default_when=_by_preset("quantize"),
        visible_when=when(preset=CUSTOM),
    )
    quant_types: list[QuantType] = param(
        default_factory=lambda: ["Q4_K_M"],
        label=("Quantization types", "量化类型"),
        help=(
            "How the files store their numbers. Q4_K_M is a quarter of F16 and the usual choice; Q8_0 is nearly exact "
            "at half of it; F16 is exact. Each file's difference from the model is measured and said.",
            "文件的数值存储类型。Q4_K_M 约为 F16 的四分之一，最常用；Q8_0 约为一半，几乎无损；F16 无损。"
            "每个文件与原模型的差异都会测量并给出。",
        ),
        group=Group.GENERAL,
        roles=(),
        aliases=("quant_type", "types"),
        visible_when=when(quantize=True),
        min_length=1,
        max_length=30,
    )
    importance_matrix: str = param(
        _AUTO,
        label=("Importance matrix", "重要性矩阵"),
        help=(
            "Rows that say which numbers matter: the model computes some thousand tokens of them, and quantised "
            "matrices are rounded accordingly. `auto` takes the training's rows where a type needs one (IQ1, IQ2, "
            "IQ3_XS, IQ3_XXS, Q2_K_S) or gains much by it (IQ3_M, IQ3_S), `training` takes them for every type, `none` "
            "takes nothing; else a file of rows or a data set's name (`name@2`): conversations, or texts.",
            "用哪些数据衡量各数值的重要程度：模型对其中数千个词元做前向计算，量化时据此取舍。"
            "auto：仅当类型需要（IQ1、IQ2、IQ3_XS、IQ3_XXS、Q2_K_S）或明显受益（IQ3_M、IQ3_S）时使用训练数据；"
            "training：所有类型均使用训练数据；"
            "none：不使用；也可填写数据文件或数据集名称（name@2），内容为对话或纯文本。",
        ),
        group=Group.GENERAL,
        fold=Fold.OPTIONAL,
        roles={Role.PLACE, Role.RESOLVED, Role.NAME},
        aliases=("imatrix",),
        visible_when=when(quantize=True),
        path="unless_name",
        min_length=1,
        max_length=4096,
        advice=[
            (
                "Helps the more, the fewer bits a type has: much at two bits and below, little from Q5 on, nothing at "
                "Q8_0.",
                "位数越少作用越大：2 位及以下明显，Q5 以上很小，Q8_0 无作用。",
            ),
        ],
    )
    importance_tokens: int = param(
        8192,
        label=("Importance matrix tokens", "重要性矩阵词元数"),
        help=(
            "How many tokens of those rows are computed, at most. More cost time and change less and less.",
            "最多计算多少个词元。越多越耗时，收益递减。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        unit="tokens",
        step=1024,
        ui=(1024, 131_072),
        visible_when=when(quantize=True),
        ge=256,
        le=10_000_000,
    )
    export_lora_gguf: bool = param(
        False,
        label=("Export LoRA as GGUF", "导出 LoRA 为 GGUF 格式"),
        help=(
            "Write the adapter alone, for `llama-server --lora` over a file of its base.",
            "单独写出适配器，配合基础模型文件以 llama-server --lora 使用。",
        ),
        group=Group.GENERAL,
        roles=(),
        default_when=_by_preset("export_lora_gguf"),
        visible_when=when(preset=CUSTOM),
    )
    export_adapter_zip: bool = param(
        False,
        label=("Adapter as a zip file", "适配器 zip 文件"),
        help=(
            "Also write the adapter as peft has it into one zip file, with how it is loaded; the same adapter is the "
            "same bytes.",
            "另将 peft 格式的适配器打成一个 zip 文件，附加载说明；相同的适配器字节也相同。",
        ),
        group=Group.GENERAL,
        roles=(),
    )
    split_size: str | None = param(
        None,
        label=("Size of a file", "单个文件大小"),
        help=(
            "A whole model that is larger is written in several files, as llama.cpp splits it (`2G`, `500M`); it is "
            "opened by the first. Empty writes one file. Ollama takes none that is split.",
            "完整模型超过该大小时按 llama.cpp 的方式分成多个文件（如 2G、500M），打开第一个即可；留空则为一个文件。"
            "Ollama 不支持拆分的文件。",
        ),
        group=Group.GENERAL,
        fold=Fold.OPTIONAL,
        roles=(),
        pattern=SPLIT_SIZE,
    )
    model_name: str | None = param(
        None,
        label=("Model name", "模型名称"),
        help=(
            "What the files and the card are called; the training task's name when empty. Some licenses ask for a name "
            "that begins with the base's.",
            "文件与模型卡所用的名称；留空使用训练任务的名称。某些许可要求名称以基础模型的名称开头。",
        ),
        group=Group.BASIC,
        fold=Fold.OPTIONAL,
        roles={Role.ONE_TASK},
        min_length=1,
        max_length=120,
    )
    accept_license: bool = param(
        False,
        label=("Accept the base's license", "接受基础模型的许可"),
        help=(
            "Needed where the license of the base does not let a package be passed on as one likes (no commerce, "
            "research alone, no changes): that you have read it, and pass nothing on that it forbids.",
            "基础模型的许可限制分发时（禁止商用、仅限研究、禁止修改）必须设置：表示您已阅读许可，且不会违反其规定进行分发。",
        ),
        group=Group.BASIC,
        fold=Fold.OPTIONAL,
        roles={Role.ONE_TASK},
    )
    external_converter: bool = param(
        False,
        label=("llama.cpp's converter", "使用 llama.cpp 转换器"),
        help=(
            "Whether llama.cpp's own converter, where this machine has it, may write the file of a model that "
            "Tunesmith does not write itself: in F32, F16, BF16 or Q8_0. Its file is held against the model as "
            "every file is.",
            "Tunesmith 无法自行写出的模型，是否允许改用本机已安装的 llama.cpp 转换器（F32、F16、BF16、Q8_0）。"
            "其文件同样与原模型比对证明。",
        ),
        group=Group.GENERAL,
        fold=Fold.ADVANCED,
        roles=(),
        aliases=("convert_hf_to_gguf",),
    )
    output_dir: str | None = param(
        None,
        label=("Output directory", "输出目录"),
        help=(
            "Where the result is published besides the platform's own storage. Must lie inside an allowed root.",
            "除平台存储外，结果的发布目录，必须位于允许的根目录内。",
        ),
        group=Group.BASIC,
        fold=Fold.OPTIONAL,
        roles={Role.PLACE, Role.ONE_TASK, Role.RESOLVED},
        path="always",
        min_length=1,
    )

    @property
    def makes_gguf(self) -> bool:
        """Whether GGUF files are written; else a model folder."""
        return self.preset != FOLDER

    @property
    def is_of_base(self) -> bool:
        """Whether an adapter's package would hold its base alone: nothing of what was trained."""
        has_adapter = self.merge_lora or self.export_lora_gguf or self.export_adapter_zip
        return self.makes_gguf and not has_adapter

    @property
    def needs_matrix(self) -> bool:
        """Whether a type of it needs an importance matrix."""
        return any(one in NEED_MATRIX for one in self.file_types)

    @property
    def matrix_rows(self) -> str | None:
        """The rows of its importance matrix: `training`, a file or a data set; None where there is to be none."""
        is_of_use = self.makes_gguf and any(one not in _UNAFFECTED for one in self.file_types)
        if not is_of_use or self.importance_matrix == _NONE:
            return None
        if self.importance_matrix != _AUTO:
            return self.importance_matrix
        return TRAINING_ROWS if self.needs_matrix or self._gains_by_matrix else None

    @property
    def can_go_without_matrix(self) -> bool:
        """Whether its matrix is one that it only gains by, and that nobody asked for."""
        return self.importance_matrix == _AUTO and self._gains_by_matrix and not self.needs_matrix

    def without_matrix(self) -> "PackageSpec":
        """The same with no importance matrix."""
        return self.model_copy(update={"importance_matrix": _NONE})

    @property
    def _gains_by_matrix(self) -> bool:
        return any(one in GAIN_BY_MATRIX for one in self.file_types)

    @property
    def file_types(self) -> list[str]:
        """The types of the whole model's files, each once; the one of the file without a type in its name is ``."""
        if not self.export_gguf:
            return []
        return list(dict.fromkeys(self.quant_types)) if self.quantize else [""]

    @classmethod
    def _restructure(cls, found: dict[str, Any], notices: list[Notice], problems: list[Problem]) -> None:
        super()._restructure(found, notices, problems)
        given = found.get("quant_types")
        if isinstance(given, str):
            found["quant_types"] = given = [one.strip() for one in given.split(",") if one.strip()]
        if isinstance(given, list):
            found["quant_types"] = [one.upper() if isinstance(one, str) else one for one in given]

    def _conflicts(self) -> list[Problem]:
        problems = super()._conflicts()
        decided: Mapping[str, bool] = PRESETS.get(self.preset, {})
        for name, value in decided.items():
            # Told by what was given: a value that the preset decides is filled in behind this.
            if name in self.model_fields_set and getattr(self, name) != value:
                problems.append(
                    Problem(
                        field=name,
                        message=f"`preset: {self.preset}` decides `{name}`: {str(value).lower()}.",
                        hint=f"Set `preset: custom` to choose it, or leave `{name}` out.",
                    )
                )
        if self.preset == CUSTOM:
            problems += unfit_parts(self)
        if self.needs_matrix and self.importance_matrix == _NONE:
            problems.append(without_matrix(self, "`importance_matrix: none` computes none"))
        return problems + without_files(self)


def _saves_left(spec: PackageSpec, _rows: int, step: int, _total: int | None) -> int:
    """One package, until it is there."""
    return int(spec.makes_gguf and step == 0)


PACKAGE = Kind(
    name="package",
    label=("Package", "打包"),
    spec=PackageSpec,
    behaviour="tunesmith_platform.tasks.kinds.package:Packaging",
    program="tunesmith_jobs.package.program:Packaging",
    room=Room.MODEL,
    supports=frozenset({Feature.CLONE, Feature.RUN, Feature.WARM}),
    component="model-packager",
    saves_left=_saves_left,
    next_step="See the files: `tunesmith packages show TASK`; a folder is loaded with transformers, or served.",
)
new_package = PACKAGE.new
"""What is sent to package a model."""
