"""LLaMA-Factory's training files: its names, its defaults where a file says nothing, and `dataset_info.json`.

Knows its files as its documentation describes them; knows nothing of how training is done.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.other_tools.dataset_info import read_data
from tunesmith.other_tools.hugging_face import COMMON, templated
from tunesmith.other_tools.rules import (
    Rule,
    Translation,
    apply,
    as_,
    finish,
    harmless,
    is_off,
    is_on,
    listed,
    not_here,
    number,
    only,
    shown,
    switch,
    table,
)
from tunesmith.rows.chat.builtin_templates import BUILT_IN

TOOL = "LLaMA-Factory"
_SIGNS = frozenset({
    "finetuning_type", "cutoff_len", "lora_target", "lora_rank", "dataset_dir", "do_train", "quantization_bit",
    "overwrite_cache", "preprocessing_num_workers", "plot_loss", "neat_packing", "stage",
})  # fmt: skip
"""Names of which a file of LLaMA-Factory has several."""
_STAGES = {"sft": "sft", "pt": "pretrain"}


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a file is LLaMA-Factory's."""
    return "stage" in document or len(_SIGNS & document.keys()) >= 2


def read(document: Mapping[str, Any], folder: Path) -> Translation:
    """What a file says, in our words.

    Args:
        document: The file.
        folder: Where it lies; `dataset_dir` is looked for beside it too.
    """
    reading = Translation(TOOL, dict(document))
    read_data(reading, folder)
    apply(reading, RULES)
    _assume(reading)
    finish(reading)
    return reading


def _stage(reading: Translation, name: str, value: Any) -> None:
    word = str(value)
    if word in _STAGES:
        reading.put(f"{name}={word}", {"training_type": _STAGES[word]})
    else:
        reading.refuse(
            name,
            f"`{name}={word}`: training on preferences or rewards is not here yet.",
            "`stage: sft` trains on answers, `stage: pt` on documents.",
        )


def _tuning(reading: Translation, name: str, value: Any) -> None:
    word = str(value)
    if word in ("lora", "full"):
        reading.put(f"{name}={word}", {"use_lora": word == "lora"})
    else:
        reading.refuse(name, f"`{name}={word}` is not done here.", "Use `lora` or `full`.")


def _quantized(reading: Translation, name: str, value: Any) -> None:
    if is_off(value):
        reading.pass_over(name)
    elif str(value) in ("4", "8"):
        reading.put(f"{name}={value}", {f"load_in_{value}bit": True})
    else:
        reading.refuse(name, f"`{name}={value}`: weights are kept in 4 or 8 bits.", "Use 4 or 8.")


def _targets(reading: Translation, name: str, value: Any) -> None:
    names = listed(value)
    if names == ["all"]:
        reading.put(f"{name}=all", {"target_modules": ["all-linear"]})
    else:
        reading.put(name, {"target_modules": names})


def _attention(reading: Translation, name: str, value: Any) -> None:
    word = str(value).lower()
    kinds = {"auto": "auto", "fa2": "flash_attention_2", "disabled": "eager", "sdpa": "sdpa", "true": "auto"}
    if word in kinds:
        reading.put(f"{name}={word}", {"attn_implementation": kinds[word]})
    else:
        reading.say("attn_implementation", f"`{name}={word}`: the best attention that is there is taken.")


def _packed(reading: Translation, name: str, value: Any) -> None:
    reading.put(name, {"packing": is_on(value)})
    if is_on(value) and name == "packing":
        reading.say("packing", "Packed rows do not see each other here, as with `neat_packing`.")


def _training(reading: Translation, name: str, value: Any) -> None:
    if is_on(value) == (name == "do_train"):
        reading.pass_over(name)
        return
    reading.refuse(
        name,
        f"`{name}={shown(value)}`: a training is asked for here.",
        "`tunesmith evaluate` and `tunesmith generate` do what comes after it.",
    )


def _shortened(reading: Translation, name: str, value: Any) -> None:
    """How many rows are held out: a share, not a count."""
    if is_off(value):
        reading.pass_over(name)
    elif number(value) < 1:
        reading.put(name, {"eval_sampling_ratio": value})
    else:
        reading.refuse(
            name,
            f"`{name}={value}` is a count of rows.",
            "Give a share below 1, or held-out rows as `eval_file`.",
        )


RULES: dict[str, Rule] = {
    **COMMON,
    "stage": _stage,
    "finetuning_type": _tuning,
    "do_train": _training,
    "do_predict": _training,
    "predict_with_generate": _training,
    "lora_target": _targets,
    "quantization_bit": _quantized,
    "quantization_method": only(
        ("bnb", "bitsandbytes", "BNB"), "weights are quantised by bitsandbytes.", "Use `bnb`."
    ),
    "quantization_type": as_("bnb_4bit_quant_type"),
    "double_quantization": as_("bnb_4bit_use_double_quant"),
    "flash_attn": _attention,
    "template": templated(tuple(BUILT_IN)),
    "packing": _packed,
    "neat_packing": _packed,
    "train_on_prompt": switch({"assistant_only_loss": False}),
    "mask_history": not_here(
        "Training on the last answer alone", "Give the earlier answers `weight: 0` in the rows' messages."
    ),
    "val_size": _shortened,
    "disable_gradient_checkpointing": switch({"gradient_checkpointing": False}),
    "early_stopping_steps": as_("early_stopping_patience"),
    "use_galore": switch({"optim": "galore_adamw"}),
    "use_apollo": switch({"optim": "apollo_adamw"}),
    "ray_num_workers": as_("num_workers"),
    "placement_strategy": lambda reading, name, value: reading.put(name, {"placement": str(value).lower()}),
    "streaming": harmless,
    "ignore_pad_token_for_loss": only((True,), "padding is never learned.", "Leave it out."),
    "disable_shuffling": not_here(
        "Training in the file's own order", "Leave it out: the order is drawn by `seed`."
    ),
    "enable_thinking": only(
        (True,), "the model's own template writes the turns.", "Give a Jinja file as `chat_template`."
    ),
    "preserve_thinking": not_here(
        "Keeping the reasoning of earlier turns", "Give a Jinja file as `chat_template`."
    ),
    "default_system": not_here("A system turn for every row", "Write it into the rows."),
    "tool_format": harmless,
    "additional_target": not_here(
        "Training whole layers beside the LoRA", "Train fully (`use_lora: false`), or leave it out."
    ),
    "pissa_init": not_here(
        "PiSSA's start by this name", "Give `init_lora_weights` in a file, by `peft_config_path`."
    ),
    **table("pissa_iter pissa_convert", harmless),
    "create_new_adapter": not_here(
        "A new LoRA over another one", "Merge the first one into its base, and train on that."
    ),
    "split_special_tokens": not_here("Splitting special tokens"),
    **table(
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config", not_here("Adding tokens")
    ),
    "rope_scaling": not_here("Stretching the context", "Use a model of the context that is needed."),
    "shift_attn": not_here("S2 attention"),
    "mixture_of_depths": not_here("Mixture of depths"),
    "train_from_scratch": not_here("Starting from random weights"),
    "moe_aux_loss_coef": not_here("Another weight of the router's balance", "It is the model's own."),
    "pure_bf16": not_here("Keeping trained weights in 16 bits", "Use `bf16: true`."),
    "freeze_language_model": not_here("Freezing the language model"),
    **table(
        "use_badam use_adam_mini use_muon use_llama_pro use_dft_loss use_asft_loss use_eaft_loss use_mca "
        "use_megatron_bridge use_hyper_parallel use_kt fp8",
        not_here("This way of training"),
    ),
    "use_swanlab": not_here("SwanLab", "Report to `mlflow`, `tensorboard` or `wandb` (`report_to`)."),
    "reward_model": not_here("Training with a reward model"),
    "eval_on_each_dataset": not_here("Evaluating each data set by itself"),
    "cp_size": only((1,), "a sequence is not parted over workers.", "Leave it out."),
    **table(
        "overwrite_cache preprocessing_num_workers preprocessing_batch_size tokenized_path "
        "data_shared_file_system plot_loss use_unsloth use_unsloth_gc use_reentrant_gc upcast_layernorm "
        "upcast_lmhead_output print_param_status use_fast_tokenizer init_special_tokens infer_backend "
        "infer_dtype offload_folder use_kv_cache use_v1_kernels compute_accuracy freeze_vision_tower "
        "freeze_multi_modal_projector image_max_pixels image_min_pixels video_max_pixels video_min_pixels "
        "video_fps video_maxlen image_do_pan_and_scan crop_to_patches use_audio_in_video "
        "audio_sampling_rate media_dir eval_num_beams max_new_tokens top_p top_k temperature do_sample "
        "num_beams repetition_penalty length_penalty skip_special_tokens ray_run_name ray_storage_path "
        "ray_storage_filesystem ray_init_kwargs master_addr master_port freeze_trainable_layers "
        "freeze_trainable_modules freeze_extra_modules galore_target galore_rank galore_update_interval "
        "galore_scale galore_proj_type apollo_target apollo_rank apollo_update_interval apollo_scale "
        "swanlab_project swanlab_run_name swanlab_mode swanlab_workspace quantization_device_map "
        "om_hub_token block_diag_attn pref_beta pref_loss pref_ftx report_to_hub adapter_folder "
        "fp8_backend cp_mode",
        harmless,
    ),
    "resources_per_worker": as_("resources_per_worker"),
    "export_dir": not_here(
        "Merging and exporting by this file", "Use `tunesmith package` on the trained task."
    ),
}
"""What is done with each name; a name of ours, or a spelling of one, passes as it is."""

_DEFAULTS: dict[str, Any] = {
    "use_lora": True,
    "max_length": 2048,
    "learning_rate": 5e-5,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.0,
}
_LORA_DEFAULTS: dict[str, Any] = {"r": 8, "target_modules": ["all-linear"]}


def _assume(reading: Translation) -> None:
    """What LLaMA-Factory takes where its file says nothing."""
    from tunesmith.spec.training import TrainSpec

    said = TrainSpec.meant(reading.parameters | reading.left)
    found = dict(_DEFAULTS)
    if said.get("use_lora", True) and not said.get("attach_lora_path") and not said.get("peft_config_path"):
        found |= _LORA_DEFAULTS
        with contextlib.suppress(TypeError, ValueError):  # what is given is refused when it is read
            found["lora_alpha"] = 2 * int(said.get("r", _LORA_DEFAULTS["r"]))
    if "warmup_steps" not in said:
        found["warmup_ratio"] = 0.0
    reading.assumed = {name: value for name, value in found.items() if said.get(name) is None}
