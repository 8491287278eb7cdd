"""Which fields of a LoRA's file do not go with a task's other parameters: each refused with the field to change."""

from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.lora_file import refuse_lora
from tunesmith.spec.training import TrainSpec


def spec(**given: Any) -> TrainSpec:
    return TrainSpec.read(
        {"model_name_or_path": "m", "train_file": "/t", "peft_config_path": "/l.json"} | given
    )


@pytest.mark.parametrize(
    ("values", "given", "field", "word"),
    [
        ({"init_lora_weights": "pissa"}, {"load_in_4bit": True}, "load_in_4bit", "in integers"),
        ({"init_lora_weights": "pissa_niter_4"}, {"load_in_8bit": True}, "load_in_8bit", "in integers"),
        ({"init_lora_weights": "OLoRA"}, {"load_in_4bit": True}, "load_in_4bit", "in integers"),
        ({"init_lora_weights": "mica"}, {"load_in_8bit": True}, "load_in_8bit", "in integers"),
        ({"init_lora_weights": "orthogonal"}, {"load_in_4bit": True}, "load_in_4bit", "in integers"),
        ({"init_lora_weights": "orthogonal", "r": 3}, {}, "peft_config_path", "even"),
        ({"init_lora_weights": "orthogonal", "rank_pattern": {"q_proj": 5}}, {}, "peft_config_path", "even"),
        ({"init_lora_weights": "pissa"}, {"deepspeed_stage": 3}, "deepspeed_stage", "in parts"),
        ({"init_lora_weights": "olora", "target_parameters": ["down_proj"]}, {}, "peft_config_path", "one tensor"),
        ({"init_lora_weights": "pissa", "ensure_weight_tying": True}, {}, "peft_config_path", "keeps one for both"),
        ({"alora_invocation_tokens": [3]}, {"merge_lora_after_training": True}, "merge_lora_after_training", "merged"),
        ({"layer_replication": [[0, 2]]}, {"merge_lora_after_training": True}, "merge_lora_after_training", "merged"),
        ({"ensure_weight_tying": True, "use_dora": True}, {}, "peft_config_path", "exclude each other"),
        ({"ensure_weight_tying": True}, {"deepspeed_stage": 3}, "deepspeed_stage", "the embedding's LoRA"),
        ({"trainable_token_indices": [5, 5]}, {}, "peft_config_path", "twice"),
        ({"trainable_token_indices": {"lm_head": [5, 50]}}, {}, "peft_config_path", "the model has 50"),
        ({"trainable_token_indices": [-1]}, {}, "peft_config_path", "no list"),
        ({"trainable_token_indices": "5"}, {}, "peft_config_path", "no list"),
        ({"trainable_token_indices": []}, {}, "peft_config_path", "no list"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_its_field(
    values: dict[str, Any], given: dict[str, Any], field: str, word: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_lora(values, spec(**given), rows=50)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert word in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({}, {"load_in_4bit": True}),
        ({"init_lora_weights": "gaussian"}, {"load_in_8bit": True}),
        ({"init_lora_weights": False}, {"load_in_4bit": True}),
        ({"init_lora_weights": "pissa"}, {"deepspeed_stage": 2}),
        ({"ensure_weight_tying": True}, {"deepspeed_stage": 2}),
        ({"init_lora_weights": "orthogonal", "ensure_weight_tying": True}, {}),
        ({"init_lora_weights": "mica", "target_parameters": ["x"]}, {}),
        ({"alora_invocation_tokens": [3], "layer_replication": None}, {}),
        ({"trainable_token_indices": {"lm_head": [5, 49], "embed_tokens": [0]}}, {}),
        ({"lora_bias": True}, {"merge_lora_after_training": True}),
    ],
)  # fmt: skip
def test_what_goes_together_is_taken(values: dict[str, Any], given: dict[str, Any]) -> None:
    refuse_lora(values, spec(**given), rows=50)
