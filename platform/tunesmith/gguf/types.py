"""The types that numbers have in a GGUF file: what each tensor may be stored as, and what whole files are called by.

A quantised type stores a row in blocks of so many numbers, each in so many bytes. Knows sizes and names; knows no
tensor.
"""

from enum import StrEnum
from typing import NamedTuple


class TensorType(StrEnum):
    """What one tensor is stored as, by ggml's name."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q8_0 = "Q8_0"
    Q5_0 = "Q5_0"
    Q5_1 = "Q5_1"
    Q4_0 = "Q4_0"
    Q4_1 = "Q4_1"
    Q6_K = "Q6_K"
    Q5_K = "Q5_K"
    Q4_K = "Q4_K"
    Q3_K = "Q3_K"
    Q2_K = "Q2_K"
    IQ4_NL = "IQ4_NL"
    IQ4_XS = "IQ4_XS"
    IQ3_S = "IQ3_S"
    IQ3_XXS = "IQ3_XXS"
    IQ2_S = "IQ2_S"
    IQ2_XS = "IQ2_XS"
    IQ2_XXS = "IQ2_XXS"
    IQ1_M = "IQ1_M"
    IQ1_S = "IQ1_S"

    @property
    def is_cast(self) -> bool:
        """Whether each number is stored by itself, so that none needs a kernel."""
        return self in (TensorType.F32, TensorType.F16, TensorType.BF16)

    @property
    def block(self) -> "Block":
        """How its numbers lie in the file."""
        return _BLOCKS[self]


class Block(NamedTuple):
    """So many numbers of a row in so many bytes."""

    numbers: int
    bytes: int


_BLOCKS = {
    TensorType.F32: Block(1, 4),
    TensorType.F16: Block(1, 2),
    TensorType.BF16: Block(1, 2),
    TensorType.Q8_0: Block(32, 34),
    TensorType.Q5_0: Block(32, 22),
    TensorType.Q5_1: Block(32, 24),
    TensorType.Q4_0: Block(32, 18),
    TensorType.Q4_1: Block(32, 20),
    TensorType.Q6_K: Block(256, 210),
    TensorType.Q5_K: Block(256, 176),
    TensorType.Q4_K: Block(256, 144),
    TensorType.Q3_K: Block(256, 110),
    TensorType.Q2_K: Block(256, 84),
    TensorType.IQ4_NL: Block(32, 18),
    TensorType.IQ4_XS: Block(256, 136),
    TensorType.IQ3_S: Block(256, 110),
    TensorType.IQ3_XXS: Block(256, 98),
    TensorType.IQ2_S: Block(256, 82),
    TensorType.IQ2_XS: Block(256, 74),
    TensorType.IQ2_XXS: Block(256, 66),
    TensorType.IQ1_M: Block(256, 56),
    TensorType.IQ1_S: Block(256, 50),
}


class FileType(StrEnum):
    """What a file's matrices are stored as, by the name that llama.cpp's tools give such a file.

    Vectors (norms, biases) are always F32, as llama.cpp computes with them. A quantised file is a mix: `mix` says which
    type each matrix gets.
    """

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    Q8_0 = "Q8_0"
    Q6_K = "Q6_K"
    Q5_K_M = "Q5_K_M"
    Q5_K_S = "Q5_K_S"
    Q5_0 = "Q5_0"
    Q5_1 = "Q5_1"
    Q4_K_M = "Q4_K_M"
    Q4_K_S = "Q4_K_S"
    Q4_0 = "Q4_0"
    Q4_1 = "Q4_1"
    Q3_K_L = "Q3_K_L"
    Q3_K_M = "Q3_K_M"
    Q3_K_S = "Q3_K_S"
    Q2_K = "Q2_K"
    Q2_K_S = "Q2_K_S"
    IQ4_XS = "IQ4_XS"
    IQ4_NL = "IQ4_NL"
    IQ3_M = "IQ3_M"
    IQ3_S = "IQ3_S"
    IQ3_XS = "IQ3_XS"
    IQ3_XXS = "IQ3_XXS"
    IQ2_M = "IQ2_M"
    IQ2_S = "IQ2_S"
    IQ2_XS = "IQ2_XS"
    IQ2_XXS = "IQ2_XXS"
    IQ1_M = "IQ1_M"
    IQ1_S = "IQ1_S"

    @property
    def is_quantised(self) -> bool:
        """Whether its matrices are stored in blocks, with less than their numbers say."""
        return not self.usual.is_cast

    @property
    def needs_matrix(self) -> bool:
        """Whether it is worth something only where it is known which numbers matter (an importance matrix)."""
        return self.value in NEED_MATRIX

    @property
    def usual(self) -> TensorType:
        """The type of most of its matrices."""
        return _USUAL.get(self) or TensorType(
            self.value.removesuffix("_L").removesuffix("_M").removesuffix("_S")
        )

    @property
    def number(self) -> int:
        """What the file says of itself (`general.file_type`)."""
        return _NUMBERS[self]


_USUAL = {
    FileType.IQ3_M: TensorType.IQ3_S,
    FileType.IQ3_S: TensorType.IQ3_S,
    FileType.IQ3_XS: TensorType.IQ3_S,
    FileType.IQ3_XXS: TensorType.IQ3_XXS,
    FileType.IQ2_M: TensorType.IQ2_S,
    FileType.IQ2_S: TensorType.IQ2_XS,
    FileType.IQ2_XS: TensorType.IQ2_XS,
    FileType.IQ2_XXS: TensorType.IQ2_XXS,
    FileType.IQ1_M: TensorType.IQ1_M,
    FileType.IQ1_S: TensorType.IQ1_S,
}
_NUMBERS = {
    FileType.F32: 0, FileType.F16: 1, FileType.Q4_0: 2, FileType.Q4_1: 3, FileType.Q8_0: 7, FileType.Q5_0: 8,
    FileType.Q5_1: 9, FileType.Q2_K: 10, FileType.Q3_K_S: 11, FileType.Q3_K_M: 12, FileType.Q3_K_L: 13,
    FileType.Q4_K_S: 14, FileType.Q4_K_M: 15, FileType.Q5_K_S: 16, FileType.Q5_K_M: 17, FileType.Q6_K: 18,
    FileType.IQ2_XXS: 19, FileType.IQ2_XS: 20, FileType.Q2_K_S: 21, FileType.IQ3_XS: 22, FileType.IQ3_XXS: 23,
    FileType.IQ1_S: 24, FileType.IQ4_NL: 25, FileType.IQ3_S: 26, FileType.IQ3_M: 27, FileType.IQ2_S: 28,
    FileType.IQ2_M: 29, FileType.IQ4_XS: 30, FileType.IQ1_M: 31, FileType.BF16: 32,
}  # fmt: skip

NEED_MATRIX = ("Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
"""Types of files that need an importance matrix: llama.cpp's quantiser refuses them without one, by the types of their
matrices."""
