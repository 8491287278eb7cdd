"""Write `platform/tunesmith/model_folder/config_keys.py`: the keys of `config.json` that the library's classes declare.

Run it after a new version of transformers was pinned, and read the difference: each new key is one that a model folder
may set. `python infra/scripts/config_keys.py` writes; a test compares the page's stamp with what it holds, with this
script and with the pinned version, which needs no library, and a long one makes the page anew.
"""

import dataclasses
import hashlib
import importlib.metadata
import inspect
import re
import textwrap
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "platform" / "tunesmith" / "model_folder" / "config_keys.py"
_HEAD = '''"""The keys of `config.json` that are read: those that transformers {version} declares for what writes text.

Written by `infra/scripts/config_keys.py`; not to be changed by hand. Stamp: {stamp}
"""

_WORDS = """
{keys}
"""
CONFIG_KEYS = frozenset(_WORDS.split())
"""Whatever else a configuration says is left out before the library sees it."""
'''
_NEVER = re.compile(
    r"_.*|.*(auto_map|implementation|impl|kernels?|quantization.*|backbone.*|name_or_path|path|file|files|device|plan)"
    r"|architecture|text_encoder|audio_encoder|audio_encoder_config|decoder|encoder|vocabulary_map|transformers_weights"
    r"|custom_.*|trust_.*|token|revision|timm_.*|torchscript"
    r"|cache_dir|commit_message|force_download|local_files_only|model_args|proxies|repo_id|return_unused_kwargs|subfolder"
)
"""Keys that choose an implementation, a file or a place: chosen by us, or not needed to write text."""
_STILL = {
    "_remove_final_layer_norm", "_sliding_window_pattern",
    "chunkwise_kernel", "conv_kernel", "sequence_kernel", "step_kernel",
    "use_mamba_kernels", "use_mem_eff_path",
}  # fmt: skip
"""Numbers and switches of those names, and words of a fixed list in the library."""
_READ = re.compile(r"kwargs\.(?:pop|get|setdefault)\(\s*\"(\w+)\"|\"(\w+)\" in kwargs|kwargs\[\"(\w+)\"\]")
_SET = re.compile(r"self\.(\w+)(?:: [^=\n]+)? = ")
_ASKED = re.compile(r"getattr\(\s*(?:self\.)?config,\s*\"(\w+)\"")


def declared() -> set[str]:
    """Every key that a class declares, writes or takes under another name, or that its model asks for."""
    from transformers import PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    keys: set[str] = {"model_type", "torch_dtype", "tie_encoder_decoder"}
    todo = [CONFIG_MAPPING[name] for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)]
    seen = set()
    while todo:
        kind = todo.pop()
        if kind in seen or not issubclass(kind, PreTrainedConfig):
            continue
        seen.add(kind)
        keys |= {field.name for field in dataclasses.fields(kind)} | set(kind.attribute_map)
        # What is written to the file, where the attribute has another name.
        keys |= set(kind.attribute_map.values())
        for base in kind.__mro__:
            if base.__module__.startswith("transformers."):
                source = inspect.getsource(base)
                keys |= {name for found in _READ.findall(source) for name in found if name} | set(
                    _SET.findall(source)
                )
        folder = Path(inspect.getfile(kind)).parent
        if folder.parent.name == "models":
            for file in folder.glob("modeling_*.py"):
                keys |= set(_ASKED.findall(file.read_text(encoding="utf-8")))
        todo += kind.sub_configs.values()
    return {key for key in keys if key in _STILL or not _NEVER.fullmatch(key)}


def stamp(words: str) -> str:
    """Names what a page was made of: its words, this script and the version of transformers that is installed."""
    of = [words, Path(__file__).read_text(encoding="utf-8"), importlib.metadata.version("transformers")]
    return hashlib.sha256("\0".join(of).encode()).hexdigest()[:16]


def page_of(keys: set[str] | frozenset[str]) -> str:
    """The module's text for some keys."""
    words = textwrap.fill(" ".join(sorted(keys)), 116, break_on_hyphens=False)
    version = importlib.metadata.version("transformers")
    return _HEAD.format(version=version, stamp=stamp(words), keys=words)


def page() -> str:
    """The module's text."""
    return page_of(declared())


if __name__ == "__main__":
    TARGET.write_text(page())
