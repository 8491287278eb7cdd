"""Which files a model folder must hold, and what each must say: formats, config, weights' index, tokenizer.

Refuses what cannot be trained and what would run code.
"""

from pathlib import Path
from typing import Any

from tunesmith.model_folder.configuration import GENERATION, readable_config, readable_generation, refuse_code
from tunesmith.model_folder.contents import refuse_contents
from tunesmith.model_folder.problems import GGUF, bad, refuse_weight_file
from tunesmith.model_folder.safetensors import Tensor
from tunesmith.rows.chat.template import TEMPLATE_FILE, TOKENIZER_CONFIG
from tunesmith.rows.files.json_file import read_object

MAX_CONFIG_BYTES = 4 * 2**20
MAX_INDEX_BYTES = 64 * 2**20
MAX_TOKENIZER_CONFIG_BYTES = 64 * 2**20
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    TEMPLATE_FILE,
)
"""What a tokenizer is made of, whoever wrote it: goes along with a model, is counted, and decides tokens."""
_NOT_CAUSAL = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForPreTraining",
)


def refuse_other_formats(folder: Path) -> None:
    """Refuse a folder that by its names holds no weights that can be trained, or anything that is no model's."""
    if not folder.exists():
        raise bad(
            f"`{folder}` does not exist.", "Check the path, as the server sees it, or pull the model first."
        )
    if folder.is_file():
        refuse_weight_file(str(folder))
        raise bad(f"`{folder}` is a file, not a model folder.", "Give the folder that holds `config.json`.")
    refuse_contents(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    if any(name.endswith(".safetensors") for name in names) and "config.json" in names:
        return
    if "adapter_config.json" in names:
        raise bad(
            f"`{folder}` holds a LoRA adapter, not a whole model.",
            "Give the folder of its base model, or merge the adapter first.",
        )
    if any(name.endswith(".safetensors") or name == INDEX for name in names):
        return  # the config is missing; said below
    if any(name.lower().endswith(".gguf") for name in names):
        raise bad(f"`{folder}` holds only GGUF weights. {GGUF[0]}", GGUF[1])


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says, as far as it is read, if it is a causal language model's."""
    file = folder / "config.json"
    if not file.is_file():
        raise bad(f"`{folder}` has no `config.json`.", "Copy it from the original model folder.", file.name)
    config = read_object(file, MAX_CONFIG_BYTES)
    refuse_code(config, file.name)
    architectures = config.get("architectures")
    if not isinstance(config.get("model_type"), str):
        raise bad("`config.json` has no `model_type`.", "Copy it from the original model folder.", file.name)
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        raise bad(
            "`config.json` has no `architectures`.", "Copy it from the original model folder.", file.name
        )
    name = architectures[0]
    is_bare = name.endswith("Model") and not name.endswith(("LMHeadModel", "LMModel"))
    if is_bare or name.endswith(_NOT_CAUSAL) or config.get("is_encoder_decoder"):
        raise bad(
            f"`{name}` does not write text from left to right, so it cannot be trained on conversations.",
            "Give a causal language model (`...ForCausalLM`).",
            file.name,
        )
    if config.get("quantization_config"):
        raise bad(
            "The model's weights are quantised already (`quantization_config` in `config.json`).",
            "Give the original, unquantised folder.",
            file.name,
        )
    generation = folder / GENERATION
    if generation.is_file():
        readable_generation(read_object(generation, MAX_CONFIG_BYTES))
    return readable_config(config)


def weight_files(folder: Path) -> list[Path]:
    """The weight files, all there."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        others = sorted(file.name for file in folder.glob("*.safetensors"))
        if others:
            raise bad(
                f"`{folder}` has neither `{WEIGHTS}` nor `{INDEX}`, only `{others[0]}`.",
                f"Copy `{INDEX}` too, or rename a single weight file to `{WEIGHTS}`.",
                INDEX,
            )
        raise bad(
            f"`{folder}` holds no weights (`{WEIGHTS}`).",
            "Copy them from the original model folder.",
            WEIGHTS,
        )
    names = sorted(set(_weight_map(folder).values()))
    if any(Path(name).name != name for name in names):
        raise bad(
            f"`{INDEX}` names a file outside its folder.", "Copy it from the original model folder.", INDEX
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        shown = ", ".join(f"`{name}`" for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise bad(
            f"{len(missing)} of {len(names)} weight files are missing: {shown}.",
            "Copy them from the original model folder.",
            missing[0],
        )
    return [folder / name for name in names]


def _weight_map(folder: Path) -> dict[str, str]:
    found = read_object(folder / INDEX, MAX_INDEX_BYTES).get("weight_map")
    is_map = isinstance(found, dict) and found and all(isinstance(name, str) for name in found.values())
    if not is_map:
        raise bad(f"`{INDEX}` has no `weight_map`.", "Copy it from the original model folder.", INDEX)
    return dict(found or {})


def check_index(folder: Path, tensors: dict[str, Tensor], files: list[Path]) -> None:
    """Refuse weights that lack a tensor of the index."""
    if not tensors:
        raise bad(f"`{files[0]}` holds no tensor.", "Copy it from the original model folder.", files[0].name)
    if files[0].name == WEIGHTS:
        return
    absent = [name for name in _weight_map(folder) if name not in tensors]
    if absent:
        raise bad(
            f"`{INDEX}` names {len(absent)} tensors that no weight file holds, the first: `{absent[0]}`.",
            "The weight files and the index belong to different models: copy them all again.",
            INDEX,
        )


def tokenizer_kind(folder: Path) -> str:
    """The kind of a tokenizer that is sound and brings no code."""
    file = folder / TOKENIZER
    if not file.is_file():
        raise bad(
            f"`{folder}` has no `{TOKENIZER}`.",
            "Copy it from the original model folder, write it with `AutoTokenizer.from_pretrained(folder)"
            ".save_pretrained(folder)` of transformers, or name a folder that has one as `tokenizer_name_or_path`.",
            file.name,
        )
    model = read_object(file).get("model")
    if not isinstance(model, dict):
        raise bad(f"`{file}` is no tokenizer.", "Copy it from the original model folder.", file.name)
    for settings in (folder / TOKENIZER_CONFIG, folder / "special_tokens_map.json"):
        if settings.is_file():
            refuse_code(read_object(settings, MAX_TOKENIZER_CONFIG_BYTES), settings.name)
    return str(model.get("type") or "")


def check_tokenizer_folder(folder: Path) -> None:
    """See that a folder may be read for its tokenizer.

    Raises:
        InvalidModel: It holds no sound one, or what is no model's.
    """
    refuse_contents(folder)
    tokenizer_kind(folder)
