"""What of a packaging's parameters does not go together, field by field.

Knows parameters; knows nothing of how weights are merged or files are written.
"""

from typing import TYPE_CHECKING

from tunesmith.errors import Problem
from tunesmith.spec.package_choices import FOLDER, NEED_MATRIX
from tunesmith.spec.training import TrainSpec

if TYPE_CHECKING:
    from tunesmith.spec.package import PackageSpec


def unfit_parts(spec: "PackageSpec") -> list[Problem]:
    """What of the parts, chosen one by one, does not go together."""
    found = []
    if spec.quantize and not spec.export_gguf and "quantize" in spec.model_fields_set:
        found.append(
            Problem(
                field="quantize",
                message="`quantize` needs `export_gguf`: only GGUF files are quantised.",
                hint="Set `export_gguf: true`, or `quantize: false`.",
            )
        )
    if spec.export_lora_gguf and spec.merge_lora:
        found.append(
            Problem(
                field="export_lora_gguf",
                message="`export_lora_gguf` and `merge_lora` exclude each other: over a file that holds the "
                "adapter already it would count twice.",
                hint="Set `merge_lora: false`: the files are then the base and its adapter.",
            )
        )
    if not spec.export_gguf and not spec.export_lora_gguf:
        found.append(
            Problem(
                field="export_gguf",
                message="Neither `export_gguf` nor `export_lora_gguf` is set: there is nothing to write.",
                hint="Set one of them; `preset: model_folder` writes a folder in safetensors.",
            )
        )
    return found


def without_files(spec: "PackageSpec") -> list[Problem]:
    """What is for GGUF files alone, and set where a model folder is written."""
    given = {
        "export_adapter_zip": spec.export_adapter_zip,
        "split_size": spec.split_size is not None,
        "external_converter": spec.external_converter,
    }
    return [
        Problem(
            field=name,
            message=f"`{name}` goes with GGUF files: `preset: {FOLDER}` writes a model folder.",
            hint="Set `preset: merge_and_quantize`, or leave it out.",
        )
        for name, is_given in given.items()
        if is_given and not spec.makes_gguf
    ]


def as_texts(training: TrainSpec) -> TrainSpec | None:
    """The training that reads rows of mere text with the same tokenizer; None where it is one already."""
    if training.training_type == "pretrain":
        return None
    return training.model_copy(update={"training_type": "pretrain"})


def without_matrix(spec: "PackageSpec", why: str) -> Problem:
    """What is wrong where a type needs an importance matrix that is not to be had; `why` says so."""
    names = ", ".join(f"`{one}`" for one in spec.file_types if one in NEED_MATRIX)
    return Problem(
        field="importance_matrix",
        message=f"{names} need an importance matrix, and {why}: without one such a file answers nonsense, and "
        "llama.cpp's own quantiser refuses it.",
        hint="Name a file of rows or a data set (`importance_matrix`), or take `IQ3_S`, `Q3_K_M` or `Q2_K`, the "
        "smallest that need none.",
    )


def not_converted(spec: "PackageSpec", types: tuple[str, ...]) -> list[Problem]:
    """What llama.cpp's converter does not write.

    Args:
        spec: The parameters.
        types: What it writes.
    """
    found = []
    others = [one for one in spec.file_types if one and one not in types]
    if others:
        found.append(
            Problem(
                field="quant_types",
                message=f"llama.cpp's converter writes {', '.join(types)}, and no {', '.join(others)}.",
                hint="Take `F16`: `llama-quantize` makes the others of it.",
            )
        )
    if spec.split_size is not None:
        found.append(
            Problem(
                field="split_size",
                message="A file that llama.cpp's converter writes is not split.",
                hint="Leave it out; `llama-gguf-split` parts the file.",
            )
        )
    return found
