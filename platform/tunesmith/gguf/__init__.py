"""Models and adapters as GGUF files, which llama.cpp reads: made from safetensors and JSON alone, tensor by tensor.

What a file cannot hold is refused before a byte is written (`NotConvertible`): a wrong file computes something else and
says nothing. Knows folders as transformers and peft write them; imports numpy and `gguf` where they are used, no torch.
"""

from tunesmith.gguf.convert import Forecast, ModelPlan, forecast, plan_gguf, write_gguf
from tunesmith.gguf.file import Progress, Written
from tunesmith.gguf.importance import Importance, collected, read_importance, write_importance
from tunesmith.gguf.lora import plan_lora_gguf, write_lora_gguf
from tunesmith.gguf.types import NEED_MATRIX, FileType

__all__ = [
    "NEED_MATRIX",
    "FileType",
    "Forecast",
    "Importance",
    "ModelPlan",
    "Progress",
    "Written",
    "collected",
    "forecast",
    "plan_gguf",
    "plan_lora_gguf",
    "read_importance",
    "write_gguf",
    "write_importance",
    "write_lora_gguf",
]
