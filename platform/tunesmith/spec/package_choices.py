"""What a package may be: the presets and what each decides, the types of files.

Knows names; knows no writer of files: `test_package_spec` holds the types to what is written.
"""

from typing import Literal

FOLDER = "model_folder"
"""The preset that packaging had before there were others, and so what a file means that names none."""
MERGE_AND_QUANTIZE = "merge_and_quantize"
LORA_ONLY = "lora_only"
CUSTOM = "custom"
QuantType = Literal[
    "Q4_K_M", "Q5_K_M", "Q4_K_S", "Q5_K_S", "Q6_K", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1",
    "Q3_K_M", "Q3_K_L", "Q3_K_S", "Q2_K", "Q2_K_S", "IQ4_XS", "IQ4_NL", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS",
    "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "F32", "F16", "BF16",
]  # fmt: skip
"""What a file may be stored as, by llama.cpp's names."""
NEED_MATRIX = ("Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
"""Types that need an importance matrix (`importance_matrix`)."""
GAIN_BY_MATRIX = ("IQ3_M", "IQ3_S")
"""Types that are to be had without one and say another token at most places then (SmolLM2-135M: 58 % of them)."""
PRESETS: dict[str, dict[str, bool]] = {
    FOLDER: {"merge_lora": True, "export_gguf": False, "quantize": False, "export_lora_gguf": False},
    MERGE_AND_QUANTIZE: {
        "merge_lora": True,
        "export_gguf": True,
        "quantize": True,
        "export_lora_gguf": False,
    },
    "merge_only": {"merge_lora": True, "export_gguf": True, "quantize": False, "export_lora_gguf": False},
    "quantize_base": {"merge_lora": False, "export_gguf": True, "quantize": True, "export_lora_gguf": False},
    LORA_ONLY: {"merge_lora": False, "export_gguf": False, "quantize": False, "export_lora_gguf": True},
}
"""What each preset decides; `custom` begins as the default of the forms, merging and quantising."""
