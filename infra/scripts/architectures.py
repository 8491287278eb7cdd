"""Write `platform/tunesmith/model_folder/architectures.py`: what transformers cannot do with each type of model.

Run it after a new version of transformers was pinned. `python infra/scripts/architectures.py` writes; a test compares
the page's stamp with this script and the pinned version, which needs no library, and a long one makes the page anew.
"""

import hashlib
import importlib.metadata
import textwrap
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "platform" / "tunesmith" / "model_folder" / "architectures.py"
_HEAD = '''"""What transformers {version} cannot do with a type of model, by `model_type`.

Written by `infra/scripts/architectures.py`; not to be changed by hand. Stamp: {stamp}
"""

'''
_ITEM = '''_{name}_WORDS = """
{words}
"""
{name} = frozenset(_{name}_WORDS.split())
"""{about}"""
'''
ABOUT = {
    "KNOWN": "Every type that it has a causal language model of.",
    "NO_CLASSIFIER": "Those that it cannot load as a classifier.",
    "NO_CHECKPOINTING": "Those that keep every activation: there is no gradient checkpointing.",
    "NO_SDPA": "Those whose attention is not PyTorch's own.",
    "NO_FLASH": "Those that flash attention cannot compute.",
}


def found() -> dict[str, set[str]]:
    """The types of each list."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    lists: dict[str, set[str]] = {name: set() for name in ABOUT}
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            model = MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[kind]]
        except (KeyError, ImportError):  # it needs a package that is not there
            continue
        lists["KNOWN"].add(kind)
        if kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
            lists["NO_CLASSIFIER"].add(kind)
        for name, attribute in (
            ("NO_CHECKPOINTING", "supports_gradient_checkpointing"),
            ("NO_SDPA", "_supports_sdpa"),
            ("NO_FLASH", "_supports_flash_attn"),
        ):
            if not getattr(model, attribute, False):
                lists[name].add(kind)
    return lists


def stamp(words: str) -> str:
    """Names what a page was made of: its words, this script and the version of transformers that is installed."""
    of = [words, Path(__file__).read_text(encoding="utf-8"), importlib.metadata.version("transformers")]
    return hashlib.sha256("\0".join(of).encode()).hexdigest()[:16]


def page_of(lists: dict[str, set[str]]) -> str:
    """The module's text for some lists."""
    items = []
    for name, about in ABOUT.items():
        words = textwrap.fill(" ".join(sorted(lists[name])), 116, break_on_hyphens=False)
        items.append(_ITEM.format(name=name, words=words, about=about))
    body = "\n".join(items)
    return _HEAD.format(version=importlib.metadata.version("transformers"), stamp=stamp(body)) + body


def page() -> str:
    """The module's text."""
    return page_of(found())


if __name__ == "__main__":
    TARGET.write_text(page())
