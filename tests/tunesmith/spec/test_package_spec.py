"""What packaging takes: the rows of the design's table, presets that decide, what does not go together."""

from typing import Any, get_args

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.gguf import NEED_MATRIX, FileType
from tunesmith.schema import rows
from tunesmith.spec import package_choices
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.package_choices import PRESETS, QuantType

FOUND = {row.name: row for row in rows(PackageSpec)}
LABELS = {
    "preset": ("Configuration template", "配置模板"),
    "task_id": ("Training task selection", "训练任务选择"),
    "base_model_path": ("Base model path", "基础模型路径"),
    "output_dir": ("Output directory", "输出目录"),
    "merge_lora": ("Merge LoRA weights to base model", "合并 LoRA 权重到基础模型"),
    "export_gguf": ("Export base model as GGUF", "导出基础模型为 GGUF 格式"),
    "quantize": ("Quantize model", "量化模型"),
    "quant_types": ("Quantization types", "量化类型"),
    "export_lora_gguf": ("Export LoRA as GGUF", "导出 LoRA 为 GGUF 格式"),
}
"""As the table of parameters has them."""


def read(**given: Any) -> PackageSpec:
    return PackageSpec.read({"model": "m", **given})


def problem(**given: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as error:
        read(**given)
    (found,) = error.value.problems
    assert found.hint
    return found.field, found.message


@pytest.mark.parametrize("name", LABELS)
def test_a_row_is_labelled_as_the_table_says(name: str) -> None:
    assert (FOUND[name].about.label_en, FOUND[name].about.label_zh) == LABELS[name]


def test_its_types_are_those_that_are_written() -> None:
    """The contract's parameters know no writer: their names are held to its."""
    assert set(get_args(QuantType)) == set(FileType)
    assert package_choices.NEED_MATRIX == NEED_MATRIX
    assert read(preset="merge_and_quantize").quant_types == ["Q4_K_M"]
    assert read(preset="merge_and_quantize", types="q8_0, F16").quant_types == ["Q8_0", "F16"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_decides_its_parts(preset: str) -> None:
    spec = read(preset=preset)
    assert {name: getattr(spec, name) for name in PRESETS[preset]} == PRESETS[preset]
    assert spec.makes_gguf == (spec.export_gguf or spec.export_lora_gguf)
    for name, value in PRESETS[preset].items():
        assert read(preset=preset, **{name: value})
        field, message = problem(preset=preset, **{name: not value})
        assert field == name
        assert preset in message


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"export_lora_gguf": True}, "export_lora_gguf", "exclude"),
        ({"export_gguf": False}, "export_gguf", "nothing to write"),
        (
            {"export_gguf": False, "merge_lora": False, "export_lora_gguf": True, "quantize": True},
            "quantize",
            "needs",
        ),
        (
            {"quant_types": ["Q8_0", "IQ1_S"], "importance_matrix": "none"},
            "importance_matrix",
            "`IQ1_S` need",
        ),
        ({"quant_types": []}, "quant_types", "at least 1"),
        ({"quant_types": ["Q9"]}, "quant_types.0", "Q4_K_M"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read(preset="custom", **given)
    assert error.value.problems[0].field == field
    assert words in error.value.problems[0].message


def test_a_file_of_before_means_what_it_meant() -> None:
    for given in ({}, {"format": "safetensors"}):
        spec = read(**given)
        assert (spec.preset, spec.makes_gguf, spec.file_types) == ("model_folder", False, [])
    assert problem(format="gguf")[0] == "format"


@pytest.mark.parametrize(
    ("types", "matrix", "rows"),
    [
        (["Q4_K_M"], "auto", None),
        (["Q4_K_M", "IQ2_M"], "auto", "training"),
        (["Q4_K_M"], "training", "training"),
        (["Q4_K_M"], "support@2", "support@2"),
        (["Q4_K_M"], "none", None),
        (["Q8_0", "F16"], "training", None),
    ],
)
def test_which_rows_a_matrix_is_of(types: list[str], matrix: str, rows: str | None) -> None:
    """None where no type is rounded by it, or where none needs it and nobody asked."""
    given = {"preset": "merge_and_quantize", "quant_types": types, "importance_matrix": matrix}
    assert read(**given).matrix_rows == rows
    assert read(**given | {"preset": "model_folder"}).matrix_rows is None
    assert read(**given | {"preset": "merge_only"}).matrix_rows is None
