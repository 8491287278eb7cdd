"""Whether a folder is a model that can be trained, told from its files alone: config, tokenizer, safetensors headers.

Knows file formats and their usual defects. Loads no weights, imports no torch, runs no code from the folder.
"""

from tunesmith.model_folder.abilities import EXPERTS_WITH_LORA, NO_LORA, inabilities, untuned_experts
from tunesmith.model_folder.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter_folder,
    read_lora_file,
    readable_lora,
)
from tunesmith.model_folder.configuration import readable_config, readable_generation
from tunesmith.model_folder.contents import is_plain_file, refuse_contents
from tunesmith.model_folder.embedder import check_embedder_folder, embedder_pooling
from tunesmith.model_folder.facts import (
    IS_EXPERT,
    LinearLayers,
    ModelFacts,
    check_model_folder,
    check_targets,
)
from tunesmith.model_folder.files import (
    INDEX,
    TOKENIZER_FILES,
    WEIGHTS,
    check_tokenizer_folder,
    read_config,
    weight_files,
)
from tunesmith.model_folder.license import license_name, license_text
from tunesmith.model_folder.origin import (
    HUB_ID_FILE,
    hub_id,
    hub_revision,
    is_at_revision,
    is_from_hub,
    note_revision,
    public_name,
    without_folders,
)
from tunesmith.model_folder.problems import refuse_weight_file
from tunesmith.model_folder.quantised import bits_of, unquantised_experts, whole_layers
from tunesmith.model_folder.safetensors import MAX_HEADER_BYTES, read_safetensors_header
from tunesmith.model_folder.terms import Passing, Terms, terms_of
from tunesmith.model_folder.weights_print import weights_print

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "EXPERTS_WITH_LORA",
    "HUB_ID_FILE",
    "INDEX",
    "IS_EXPERT",
    "MAX_HEADER_BYTES",
    "NO_LORA",
    "TOKENIZER_FILES",
    "WEIGHTS",
    "LinearLayers",
    "ModelFacts",
    "Passing",
    "Terms",
    "bits_of",
    "check_adapter_folder",
    "check_embedder_folder",
    "check_model_folder",
    "check_targets",
    "check_tokenizer_folder",
    "embedder_pooling",
    "hub_id",
    "hub_revision",
    "inabilities",
    "is_at_revision",
    "is_from_hub",
    "is_plain_file",
    "license_name",
    "license_text",
    "note_revision",
    "public_name",
    "read_config",
    "read_lora_file",
    "read_safetensors_header",
    "readable_config",
    "readable_generation",
    "readable_lora",
    "refuse_contents",
    "refuse_weight_file",
    "terms_of",
    "unquantised_experts",
    "untuned_experts",
    "weight_files",
    "weights_print",
    "whole_layers",
    "without_folders",
]
