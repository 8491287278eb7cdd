"""Whether a folder is a model that can be trained, told from its files alone: config, tokenizer, safetensors headers.

Knows file formats and their usual defects. Loads no weights, imports no torch, runs no code from the folder.
"""

from tunesmith.model_folder.facts import LinearLayers, ModelFacts, check_model_folder, check_targets
from tunesmith.model_folder.license import license_name, license_text
from tunesmith.model_folder.origin import HUB_ID_FILE, hub_id, is_from_hub
from tunesmith.model_folder.problems import refuse_weight_file
from tunesmith.model_folder.safetensors import MAX_HEADER_BYTES, read_safetensors_header

__all__ = [
    "HUB_ID_FILE",
    "MAX_HEADER_BYTES",
    "LinearLayers",
    "ModelFacts",
    "check_model_folder",
    "check_targets",
    "hub_id",
    "is_from_hub",
    "license_name",
    "license_text",
    "read_safetensors_header",
    "refuse_weight_file",
]
