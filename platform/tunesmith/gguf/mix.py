"""Which type each matrix of a quantised file gets: llama.cpp's rules, so that a file is what its name promises.

Some matrices matter more (values, the way back out of a layer, the head, the first and the last layers) and get more
bits. Knows names in the file; reads no weights.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tunesmith.gguf.types import FileType, TensorType

_LAYER = re.compile(r"blk\.(\d+)\.(.+?)(?:_exps|_shexp)?\.weight")
_AS = {"attn_qkv": "attn_v"}
"""What goes by the rules of another: queries, keys and values in one matrix are as delicate as the values."""
_INSTEAD = {
    TensorType.Q6_K: TensorType.Q8_0,
    TensorType.Q5_K: TensorType.Q5_1,
    TensorType.Q4_K: TensorType.Q5_0,
    TensorType.Q3_K: TensorType.Q4_0,
    TensorType.Q2_K: TensorType.Q4_0,
    TensorType.IQ4_XS: TensorType.IQ4_NL,
    TensorType.IQ3_S: TensorType.IQ4_NL,
    TensorType.IQ3_XXS: TensorType.IQ4_NL,
    TensorType.IQ2_S: TensorType.IQ4_NL,
    TensorType.IQ2_XS: TensorType.IQ4_NL,
    TensorType.IQ2_XXS: TensorType.IQ4_NL,
    TensorType.IQ1_M: TensorType.IQ4_NL,
    TensorType.IQ1_S: TensorType.IQ4_NL,
}
"""What a matrix gets whose rows do not divide into blocks of 256."""


class Choice(NamedTuple):
    """A matrix's type."""

    type: TensorType
    wanted: TensorType
    """Another than `type` where its rows do not divide into the blocks of what the rules want."""


class Sizes(NamedTuple):
    """What of a model the rules ask."""

    layers: int
    heads_per_kv: int
    is_tied: bool
    """Whether the embedding is the head too."""
    is_70b: bool = False
    """Whether it is Llama 2 70B by its sizes: its values are shared by so many heads that they get more bits."""
    experts: int = 0


def choose(name: str, width: int, file_type: FileType, sizes: Sizes, *, has_matrix: bool = False) -> Choice:
    """A matrix's type.

    Args:
        name: Its name in the file.
        width: Numbers of a row.
        file_type: The file's.
        sizes: The model's.
        has_matrix: Whether an importance matrix says which numbers matter: some rules are others then.
    """
    if not file_type.is_quantised:
        return Choice(file_type.usual, file_type.usual)
    wanted = _wanted(name, width, file_type, sizes, has_matrix=has_matrix)
    found = wanted
    if width % found.block.numbers:
        found = _INSTEAD.get(found, found)
    if width % found.block.numbers:
        found = TensorType.F16
    return Choice(found, wanted)


def _wanted(name: str, width: int, file_type: FileType, sizes: Sizes, *, has_matrix: bool) -> TensorType:
    usual = file_type.usual
    if name == "output.weight" or (name == "token_embd.weight" and sizes.is_tied):
        if width % usual.block.numbers:
            return TensorType.Q8_0
        if file_type in _LOWEST or file_type is FileType.IQ3_XXS:
            return TensorType.Q5_K
        return usual if usual is TensorType.Q8_0 else TensorType.Q6_K
    if name == "token_embd.weight":
        return _EMBEDDING.get(file_type, usual)
    found = _LAYER.fullmatch(name)
    if found is None:
        return usual
    part = _AS.get(found[2], found[2])
    if sizes.experts == _EIGHT and (kept := _of_eight(part, int(found[1]), file_type, sizes)):
        return kept
    rule = _RULES.get((file_type, part))
    if has_matrix:
        rule = _RULES_WITH_MATRIX.get((file_type, part), rule)
    kind = (rule(int(found[1]), sizes) if rule else None) or usual
    is_bumped = part == "attn_v" and sizes.is_70b and file_type not in _LOWEST
    return TensorType.Q5_K if is_bumped and kind in (TensorType.Q3_K, TensorType.Q4_K) else kind


def _of_eight(part: str, layer: int, file_type: FileType, sizes: Sizes) -> TensorType | None:
    """What a model of eight experts keeps, of its attention above all, which is small beside them."""
    if file_type in _LOWEST:
        return {"attn_k": TensorType.Q4_K, "attn_output": TensorType.Q5_K}.get(part)
    if part in ("attn_v", "attn_k"):
        return TensorType.Q8_0
    if part == "ffn_down" and file_type is FileType.IQ3_M and _more(layer, sizes.layers):
        return TensorType.Q4_K
    return TensorType.Q5_K if part == "attn_output" and file_type in _OUTPUT_OF_EIGHT else None


_Rule = Callable[[int, Sizes], TensorType | None]
"""Takes the layer and the model's sizes; None is the file's usual type."""


def _more(layer: int, layers: int) -> bool:
    """Whether a layer is one of those that get more bits: the first and last eighth, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _always(kind: TensorType) -> _Rule:
    return lambda layer, sizes: kind


def _some(kind: TensorType) -> _Rule:
    return lambda layer, sizes: kind if _more(layer, sizes.layers) else None


def _first(kind: TensorType, part: int, rest: TensorType | None = None) -> _Rule:
    return lambda layer, sizes: kind if layer < sizes.layers // part else rest


def _before(kind: TensorType, end: int, rest: TensorType | None = None) -> _Rule:
    return lambda layer, sizes: kind if layer < end else rest


def _middle(kind: TensorType) -> _Rule:
    """All layers but the first and the last eighth."""
    return lambda layer, sizes: kind if sizes.layers // 8 <= layer < 7 * sizes.layers // 8 else None


def _shared(kind: TensorType, rest: TensorType | None = None) -> _Rule:
    """Values that four heads or more share."""
    return lambda layer, sizes: kind if sizes.heads_per_kv >= 4 else rest


def _low_values(rest: TensorType) -> _Rule:
    """Values in the lowest types: of four heads or more, or beside four experts or more."""
    return lambda layer, sizes: _T.Q4_K if sizes.heads_per_kv >= 4 or sizes.experts >= 4 else rest


_F, _T = FileType, TensorType
_LEAST = (_F.IQ2_XS, _F.IQ2_XXS, _F.IQ1_M, _F.IQ1_S)
_EIGHT = 8
_OUTPUT_OF_EIGHT = (
    *(_F.Q2_K, _F.Q3_K_S, _F.Q3_K_M, _F.Q4_K_S, _F.Q4_K_M),
    *(_F.IQ3_XS, _F.IQ3_XXS, _F.IQ3_S, _F.IQ3_M, _F.IQ4_NL, _F.IQ4_XS),
)
_LOWEST = (_F.IQ2_M, _F.IQ2_S, *_LEAST)
"""Files in two bits a number and less, which have rules of their own."""
_RULES: dict[tuple[FileType, str], _Rule] = {
    (_F.Q2_K, "attn_v"): _shared(_T.Q4_K, _T.Q3_K),
    (_F.Q2_K, "attn_output"): _always(_T.Q3_K),
    (_F.Q2_K, "ffn_down"): _always(_T.Q3_K),
    (_F.Q3_K_M, "attn_v"): _before(_T.Q5_K, 2, _T.Q4_K),
    (_F.Q3_K_M, "attn_output"): _always(_T.Q4_K),
    (_F.Q3_K_M, "ffn_down"): _first(_T.Q5_K, 16, _T.Q4_K),
    (_F.Q3_K_L, "attn_v"): _always(_T.Q5_K),
    (_F.Q3_K_L, "attn_output"): _always(_T.Q5_K),
    (_F.Q3_K_L, "ffn_down"): _always(_T.Q5_K),
    (_F.Q4_K_S, "attn_v"): _before(_T.Q5_K, 4),
    (_F.Q4_K_S, "ffn_down"): _first(_T.Q5_K, 8),
    (_F.Q4_K_M, "attn_v"): _some(_T.Q6_K),
    (_F.Q4_K_M, "ffn_down"): _some(_T.Q6_K),
    (_F.Q5_K_M, "attn_v"): _some(_T.Q6_K),
    (_F.Q5_K_M, "ffn_down"): _some(_T.Q6_K),
    (_F.IQ4_NL, "attn_v"): _shared(_T.Q5_K),
    (_F.IQ4_NL, "ffn_down"): _first(_T.Q5_K, 8),
    (_F.IQ4_XS, "attn_v"): _shared(_T.Q5_K),
    (_F.IQ4_XS, "ffn_down"): _first(_T.Q5_K, 8),
    (_F.Q2_K_S, "attn_v"): _shared(_T.Q4_K),
    (_F.Q2_K_S, "ffn_down"): _first(_T.Q4_K, 8),
    (_F.IQ3_S, "attn_v"): _shared(_T.Q4_K),
    (_F.IQ3_XS, "attn_v"): _shared(_T.Q4_K),
    (_F.IQ3_XS, "attn_q"): _always(_T.IQ3_XXS),
    (_F.IQ3_XS, "attn_k"): _always(_T.IQ3_XXS),
    (_F.IQ3_XS, "ffn_gate"): _middle(_T.IQ3_XXS),
    (_F.IQ3_XS, "ffn_up"): _middle(_T.IQ3_XXS),
    (_F.IQ3_XXS, "attn_v"): _shared(_T.Q4_K),
    (_F.IQ3_XXS, "attn_q"): _always(_T.IQ2_S),
    (_F.IQ3_XXS, "attn_k"): _always(_T.IQ2_S),
    (_F.IQ3_XXS, "attn_output"): _always(_T.IQ3_S),
    (_F.IQ3_M, "attn_v"): _always(_T.Q4_K),
    (_F.IQ3_M, "attn_output"): _always(_T.Q4_K),
    (_F.IQ3_M, "ffn_down"): _first(_T.Q4_K, 8),
    **{(kind, "attn_v"): _low_values(_T.IQ3_S) for kind in (_F.IQ2_S, _F.IQ2_M)},
    **{(kind, "ffn_down"): _first(_T.IQ3_S, 8) for kind in (_F.IQ2_S, _F.IQ2_M)},
    **{(kind, "attn_output"): _always(_T.IQ3_S) for kind in (_F.IQ2_S, _F.IQ2_M)},
    **{(kind, "attn_v"): _low_values(_T.Q2_K) for kind in _LEAST},
    **{(kind, "ffn_down"): _first(_T.Q2_K, 8) for kind in _LEAST},
    **{(kind, "attn_output"): _always(_T.IQ2_XXS) for kind in (_F.IQ1_M, _F.IQ1_S)},
}
_RULES_WITH_MATRIX: dict[tuple[FileType, str], _Rule] = {
    (_F.IQ4_NL, "ffn_down"): _always(_T.IQ4_NL),
    (_F.IQ4_XS, "ffn_down"): _always(_T.IQ4_XS),
    (_F.Q4_0, "ffn_down"): _first(_T.Q4_1, 8),
    (_F.Q5_0, "ffn_down"): _first(_T.Q5_1, 8),
}
"""Where an importance matrix says which numbers matter: what needs no more bits then, and what does."""
_EMBEDDING = {
    **dict.fromkeys(_LEAST, _T.Q2_K),
    **dict.fromkeys((_F.IQ2_S, _F.IQ2_M, _F.IQ3_XXS), _T.IQ3_S),
}
"""What the embedding gets where it is not the head too; the file's usual type in other files."""


def counted(choices: Iterable[Choice]) -> dict[str, int]:
    """How many matrices got another type than the rules want, by `wanted -> type`."""
    found: dict[str, int] = {}
    for choice in choices:
        if choice.type is not choice.wanted:
            words = f"{choice.wanted} -> {choice.type}"
            found[words] = found.get(words, 0) + 1
    return found
