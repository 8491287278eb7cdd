"""Whether transformers would make other ids of a folder than its `tokenizer.json` says: told from files, without it.

A run takes the library's ids (`tunesmith_jobs.models.library_tokenizer`, which asks it). Who counts tokens without the
library goes by `tokenizer.json`, and says with this where that may be wrong, and how far. Knows which class the library
picks by a model's type and a folder's `tokenizer_class`, and the parts that those classes put in place of the file's; a
test holds both against the library. Knows nothing of rows.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.dataset_views import Finding
from tunesmith.errors import InvalidModel
from tunesmith.rows.chat.template import TOKENIZER_CONFIG
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.same_ids import Difference, first_difference, sample_texts

IDS_BY_FILE = "ids_by_file"
"""The finding's code."""
_SPLIT_BYTES = {
    "Qwen2Tokenizer": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
    "Qwen3_5Tokenizer": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
_NFC = {"type": "NFC"}
_PLAIN_BPE: dict[str, Any] = {
    "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
    "byte_fallback": False, "ignore_merges": False,
}  # fmt: skip
_SENTENCEPIECE: dict[str, Any] = {
    "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
    "ignore_merges": False,
}  # fmt: skip
BUILT = (
    "CodeGenTokenizer", "CodeLlamaTokenizer", "CohereTokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer", "GemmaTokenizer",
    "LlamaTokenizer", "Qwen2Tokenizer", "Qwen3_5Tokenizer",
)  # fmt: skip
"""Classes that take the words of `tokenizer.json` and build the rest by themselves, of which `parts_of` says how."""
BUILT_OTHERWISE = frozenset(
    ("AlbertTokenizer", "BarthezTokenizer", "BartTokenizer", "BertGenerationTokenizer", "BertTokenizer",
     "BigBirdTokenizer", "BioGptTokenizer", "BlenderbotSmallTokenizer", "BlenderbotTokenizer", "ByT5Tokenizer",
     "CLIPTokenizer", "CTRLTokenizer", "CamembertTokenizer", "CpmAntTokenizer", "DebertaTokenizer",
     "DebertaV2Tokenizer", "EsmTokenizer", "FunnelTokenizer", "GPTNeoXJapaneseTokenizer", "HerbertTokenizer",
     "LEDTokenizer", "LukeTokenizer", "MBart50Tokenizer", "MBartTokenizer", "MPNetTokenizer", "MvpTokenizer",
     "NllbTokenizer", "NougatTokenizer", "OpenAIGPTTokenizer", "PLBartTokenizer", "PegasusTokenizer",
     "ProphetNetTokenizer", "ReformerTokenizer", "RemBertTokenizer", "RoCBertTokenizer", "RoFormerTokenizer",
     "RobertaTokenizer", "SeamlessM4TTokenizer", "Siglip2Tokenizer", "SplinterTokenizer", "T5Tokenizer",
     "WhisperTokenizer", "XGLMTokenizer", "XLMRobertaTokenizer", "XLMTokenizer", "XLNetTokenizer")
)  # fmt: skip
"""Classes that build their tokenizer too, or are a program: that it may be another one is all that is known here."""
_OF_TYPE = {
    "CohereTokenizer": "cohere cohere2",
    "GPT2Tokenizer": "codegen dbrx emu3 gpt2 gpt_neo gptj jais2 opt phi starcoder2",
    "GPTNeoXTokenizer": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm",
    "GemmaTokenizer": "gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma zaya",
    "Qwen2Tokenizer": "dots3_note moss_transcribe_diarize qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next",
    "Qwen3_5Tokenizer": "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp",
    "BertTokenizer": "bert electra ernie git megatron-bert",
    "RobertaTokenizer": "bart data2vec-text roberta roberta-prelayernorm",
    "XLMRobertaTokenizer": "trocr xlm-roberta xmod",
    "T5Tokenizer": "musicgen musicgen_melody",
    "BigBirdTokenizer": "big_bird",
    "BioGptTokenizer": "biogpt",
    "BlenderbotTokenizer": "blenderbot",
    "BlenderbotSmallTokenizer": "blenderbot-small",
    "CamembertTokenizer": "camembert",
    "CpmAntTokenizer": "cpmant",
    "CTRLTokenizer": "ctrl",
    "GPTNeoXJapaneseTokenizer": "gpt_neox_japanese",
    "MBartTokenizer": "mbart",
    "MvpTokenizer": "mvp",
    "OpenAIGPTTokenizer": "openai-gpt",
    "PegasusTokenizer": "pegasus",
    "PLBartTokenizer": "plbart",
    "ProphetNetTokenizer": "prophetnet",
    "ReformerTokenizer": "reformer",
    "RemBertTokenizer": "rembert",
    "RoCBertTokenizer": "roc_bert",
    "RoFormerTokenizer": "roformer",
    "WhisperTokenizer": "whisper",
    "XGLMTokenizer": "xglm",
    "XLMTokenizer": "xlm",
    "XLNetTokenizer": "xlnet",
}
"""The types whose tokenizer the library builds by a class of its own, by that class."""
CLASS_OF_TYPE = {kind: name for name, kinds in _OF_TYPE.items() for kind in kinds.split()}
"""By a model's type, the class that builds its tokenizer."""
_FILE_OF_TYPE = (
    "beam bigbird_pegasus ernie4_5 ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite got_ocr2 "
    "gpt_bigcode granite granitemoe granitemoehybrid granitemoeshared hyperclovax internlm3 iquestcoder jamba "
    "kimi_linear mimo_v2_flash minicpm3 minimax_m2 ministral ministral3 mistral mixtral modernbert-decoder "
    "nemotron olmo2 olmo3 olmo_hybrid persimmon phi3 phimoe stablelm xlm-roberta-xl"
)
FILE_OF_TYPE = frozenset(_FILE_OF_TYPE.split())
"""The types whose `tokenizer.json` is taken as it is, whatever class another file names."""
CLASS_IGNORED = frozenset(("qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp"))
"""The types of `CLASS_OF_TYPE` whose own class is taken, whatever class another file names."""


class LibraryIds(NamedTuple):
    """How a tokenizer's ids differ from those of `tokenizer.json`."""

    name: str
    """The class that the library builds it with."""
    difference: Difference | None
    """The first place; None where it cannot be known without the library."""
    file_tokens: int = 0
    """Tokens of the sample texts by `tokenizer.json`."""
    tokens: int = 0
    """The same by the library's."""

    def finding(self) -> Finding:
        """What counts and shown tokens are worth then."""
        where = "" if self.difference is None else self.difference.words("`tokenizer.json`", "transformers")
        return Finding(
            code=IDS_BY_FILE,
            message=f"Tokens are counted by `tokenizer.json` here. transformers builds this tokenizer as "
            f"`{self.name}`, by rules of its own, and the run takes that one: its ids and counts may be others."
            if not where
            else f"Tokens are counted by `tokenizer.json` here. transformers builds this tokenizer as `{self.name}`, "
            f"and the run takes that one, whose ids are others. First: {where}. The sample texts come to "
            f"{self.file_tokens} tokens by the file and {self.tokens} by transformers.",
            hint="`tunesmith models check MODEL` asks transformers. `AutoTokenizer.from_pretrained(folder)"
            ".save_pretrained(folder)` makes both the same.",
            count=0,
            rows=0,
        )


def findings_of(model: str | Path, tokenizer: str | Path | None = None) -> list[Finding]:
    """What is to be said of counts that go by a folder's `tokenizer.json`; empty where the library's ids are the same.

    Args:
        model: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
    """
    found = library_ids(Path(tokenizer or model))
    return [] if found is None else [found.finding()]


def library_ids(folder: Path) -> LibraryIds | None:
    """How the library's ids of a folder differ from those of its `tokenizer.json`; None where they do not."""
    names = ("tokenizer.json", TOKENIZER_CONFIG, "config.json")
    return _library_ids(folder, tuple(_state(folder / name) for name in names))


@functools.lru_cache(maxsize=16)
def _library_ids(folder: Path, _state: object) -> LibraryIds | None:
    try:
        config, settings = _object(folder / "config.json"), _object(folder / TOKENIZER_CONFIG)
        parts = read_object(folder / "tokenizer.json")
        name = class_of(config, settings, has_bytes=_has_bytes(parts))
        # What a folder's configuration adds to the file's words is added by every class.
        built = parts | {"added_tokens": _added(parts, settings)}
        if name in BUILT:
            built = _built(built, name, settings)
        elif name in BUILT_OTHERWISE:
            return LibraryIds(name, None)
        return None if _is_same(parts, built) else _compared(name or "PreTrainedTokenizerFast", parts, built)
    except (InvalidModel, KeyError, TypeError, ValueError, AttributeError):
        return None  # who reads the folder says what is wrong with it


def class_of(config: Mapping[str, Any], settings: Mapping[str, Any], *, has_bytes: bool) -> str | None:
    """The class with which the library builds a tokenizer; None where `tokenizer.json` is taken as it is.

    Args:
        config: The model's `config.json`.
        settings: The tokenizer's `tokenizer_config.json`.
        has_bytes: Whether its words are bytes: a Llama's class is not taken for such.
    """
    kind = config.get("model_type")
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    named = named.removesuffix("Fast") if isinstance(named, str) else None
    own = CLASS_OF_TYPE.get(kind) if isinstance(kind, str) else None
    if kind in FILE_OF_TYPE:
        return None
    if named == "LlamaTokenizer" and has_bytes and kind not in CLASS_IGNORED:
        return None
    found = own if named is None or kind in CLASS_IGNORED else named
    return found if found in BUILT or found in BUILT_OTHERWISE else None


def parts_of(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that one of `BUILT` puts in place of the file's: normalizer, pre-tokenizer, and how words are merged.

    Args:
        name: The class.
        settings: The tokenizer's `tokenizer_config.json`.
    """
    space = settings.get("add_prefix_space")
    if name in ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"):
        unknown = str(_text(settings.get("unk_token")) or "<unk>")
        model = _SENTENCEPIECE | {"unk_token": None if name == "LlamaTokenizer" else unknown}
        if name == "GemmaTokenizer":
            return {
                "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                                  "invert": False},
                "model": model,
            }  # fmt: skip
        scheme = "never" if space is False else "first"
        split = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
        return {"normalizer": None, "pre_tokenizer": split, "model": model}
    in_bytes: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": bool(space), "trim_offsets": True}
    normalizer = None if name in ("GPT2Tokenizer", "CodeGenTokenizer") else _NFC
    before: dict[str, Any] | None = None
    if name in _SPLIT_BYTES:
        pattern = {"Regex": _SPLIT_BYTES[name]}
        before = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    elif name == "CohereTokenizer":
        before = {"type": "Digits", "individual_digits": True}
    last = in_bytes | {"use_regex": name not in _SPLIT_BYTES}
    pre = {"type": "Sequence", "pretokenizers": [before, last]} if before else last
    return {"normalizer": normalizer, "pre_tokenizer": pre, "model": _PLAIN_BPE}


def _built(parts: dict[str, Any], name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    own = parts_of(name, settings)
    model = {"type": "BPE", "vocab": parts["model"]["vocab"], "merges": parts["model"]["merges"]}
    return parts | own | {"model": model | own["model"]}


def _added(parts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Any]:
    """The words that stand for themselves: the file's, and those that the configuration names besides."""
    found = list(parts.get("added_tokens") or [])
    known = {one["content"] for one in found}
    listed = settings.get("added_tokens_decoder")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    wanted = [
        flags | {key: value for key, value in one.items() if key in ("content", *flags)}
        for one in (listed.values() if isinstance(listed, dict) else ())
        if isinstance(one, dict)
    ]
    for key in ("extra_special_tokens", "additional_special_tokens"):
        extra = settings.get(key)
        names = extra.values() if isinstance(extra, dict) else extra if isinstance(extra, list) else ()
        wanted += [flags | {"content": _text(one)} for one in names if _text(one)]
    vocabulary = parts["model"]["vocab"]
    numbers = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    last = max([*numbers.values(), len(vocabulary) - 1, *(one["id"] for one in found)], default=-1)
    for one in wanted:
        content = one.get("content")
        if isinstance(content, str) and content not in known:
            known.add(content)
            last = last if content in numbers else last + 1
            found.append(one | {"id": numbers.get(content, last)})
    return found


def _is_same(parts: Mapping[str, Any], built: Mapping[str, Any]) -> bool:
    def decides(of: Mapping[str, Any]) -> list[Any]:
        plain = {key: value for key, value in of["model"].items() if key not in ("vocab", "merges", "unk_id")}
        rest = {key: value for key, value in plain.items() if value not in (None, False, "")}
        return [of.get("normalizer"), of.get("pre_tokenizer"), rest, of.get("added_tokens")]

    return decides(parts) == decides(built)


def _compared(name: str, parts: dict[str, Any], built: dict[str, Any]) -> LibraryIds | None:
    from tokenizers import Tokenizer

    def encoder(of: dict[str, Any]) -> Any:
        plain = of | {"truncation": None, "padding": None, "post_processor": None}
        made = Tokenizer.from_str(json.dumps(plain))
        return lambda text, marks: made.encode(text, add_special_tokens=marks).ids

    try:
        one, other = encoder(parts), encoder(built)
    except Exception:  # the library raises bare `Exception`
        return LibraryIds(name, None)
    marks = [found["content"] for found in built["added_tokens"]]
    difference = first_difference(one, other, marks, (False,))
    if difference is None:
        return None
    texts = list(sample_texts())
    return LibraryIds(name, difference, *(sum(len(of(text, False)) for text in texts) for of in (one, other)))


def _has_bytes(parts: Mapping[str, Any]) -> bool:
    found = [parts.get("pre_tokenizer"), parts.get("decoder")]
    return '"ByteLevel"' in json.dumps(found)


def _text(value: object) -> str | None:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _object(file: Path) -> dict[str, Any]:
    return read_object(file) if file.is_file() else {}


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
