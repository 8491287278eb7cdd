"""Axolotl's training files: its names, its lists of data sets, and its defaults where a file says nothing.

Knows its files as its documentation describes them; knows nothing of how training is done.
"""

from collections.abc import Mapping
from typing import Any

from tunesmith.other_tools.axolotl_data import read_data
from tunesmith.other_tools.hugging_face import COMMON, how_often, templated, tracked
from tunesmith.other_tools.rules import (
    Rule,
    Translation,
    apply,
    as_,
    finish,
    harmless,
    is_off,
    is_on,
    not_here,
    number,
    only,
    shown,
    switch,
    table,
)
from tunesmith.rows.chat.builtin_templates import BUILT_IN

TOOL = "Axolotl"
_SIGNS = frozenset({
    "base_model", "datasets", "pretraining_dataset", "sequence_len", "micro_batch_size", "sample_packing",
    "val_set_size", "dataset_prepared_path", "lora_target_linear", "saves_per_epoch", "evals_per_epoch", "adapter",
})  # fmt: skip


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a file is Axolotl's."""
    return "base_model" in document or len(_SIGNS & document.keys()) >= 2


def read(document: Mapping[str, Any]) -> Translation:
    """What a file says, in our words."""
    reading = Translation(TOOL, dict(document))
    _batches(reading)
    read_data(reading)
    if is_on(reading.left.get("lora_target_linear")) and reading.take("lora_target_modules"):
        reading.pass_over("lora_target_modules")  # every linear layer is trained anyhow
    if is_off(reading.left.get("val_set_size")) and "eval_file" not in reading.parameters:
        for name in ("evals_per_epoch", "eval_steps", "eval_strategy", "evaluation_strategy"):
            if reading.take(name) is not None:
                reading.pass_over(name)  # there is nothing to evaluate on
    apply(reading, RULES)
    _assume(reading)
    finish(reading)
    return reading


def _adapter(reading: Translation, name: str, value: Any) -> None:
    word = str(value).lower()
    if word == "lora":
        reading.put(f"{name}=lora", {"use_lora": True})
    elif word == "qlora":
        reading.put(f"{name}=qlora", {"use_lora": True, "load_in_4bit": True})
    else:
        reading.refuse(name, f"`{name}={value}` is not done here.", "Use `lora` or `qlora`, or leave it out.")


def _targets(reading: Translation, name: str, value: Any) -> None:
    """Each linear layer, or those that are named."""
    if name == "lora_target_linear":
        if is_on(value):
            reading.put(f"{name}=true", {"target_modules": ["all-linear"]})
        else:
            reading.pass_over(name)
        return
    reading.put(name, {"target_modules": [value] if isinstance(value, str) else value})


def _precision(reading: Translation, name: str, value: Any) -> None:
    word = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(name, name)
    if str(value).lower() in ("auto", "full") or is_off(value):
        reading.pass_over(name)
    elif word in ("bf16", "fp16"):
        reading.put(f"{name}={shown(value)}", {word: True})
    else:
        reading.put(f"{name}={shown(value)}", {"precision": word})


def _automatic(reading: Translation, name: str, value: Any) -> None:
    """A switch that may say `auto`, which is the default here."""
    if str(value).lower() == "auto":
        reading.pass_over(name)
    else:
        reading.parameters[name] = is_on(value)


def _recomputed(reading: Translation, name: str, value: Any) -> None:
    word = str(value).lower()
    if word in ("unsloth", "offload", "offload_disk"):
        reading.put(f"{name}={word}", {"gradient_checkpointing": True})
    else:
        reading.parameters[name] = value


def _attention(reading: Translation, name: str, value: Any) -> None:
    word = str(value).lower()
    if name == "attn_implementation":
        kind = word if word in ("auto", "sdpa", "flash_attention_2", "eager") else None
    else:
        kind = {
            "flash_attention": "flash_attention_2",
            "sdp_attention": "sdpa",
            "eager_attention": "eager",
        }.get(name)
        if not is_on(value):
            reading.pass_over(name)
            return
    if kind is None:
        reading.say("attn_implementation", f"`{name}={word}`: the best attention that is there is taken.")
    else:
        reading.put(f"{name}={word}", {"attn_implementation": kind})


def _special(reading: Translation, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        reading.refuse(name, f"`{name}` is a mapping.", "Leave it out.")
        return
    others = [key for key, token in value.items() if token and key not in ("pad_token", "unk_token")]
    if others:
        reading.say(
            name,
            f"`{name}`: `{others[0]}` is the tokenizer's own here; give another folder as `tokenizer_name_or_path` "
            "where it has to be another one.",
        )
    else:
        reading.pass_over(name)


def _shape(reading: Translation, name: str, value: Any) -> None:
    """The class of the model."""
    word = str(value)
    if word.endswith("ForSequenceClassification"):
        reading.put(f"{name}={word}", {"training_type": "classification"})
    else:
        reading.pass_over(name)


def _plugins(reading: Translation, name: str, value: Any) -> None:
    known = ("liger", "cut_cross_entropy", "kernels")
    for plugin in value if isinstance(value, list) else [value]:
        if not any(word in str(plugin) for word in known):
            reading.refuse(name, f"`{name}`: `{plugin}` is not here.", "Leave it out.")
            return
    reading.pass_over(name)


def _held_out(reading: Translation, name: str, value: Any) -> None:
    if is_off(value):
        reading.pass_over(name)
    elif number(value) < 1:
        reading.put(name, {"eval_sampling_ratio": value})
        frequency = {"eval_steps", "evals_per_epoch", "eval_strategy", "evaluation_strategy"}
        if not any(reading.left.get(key) is not None or key in reading.parameters for key in frequency):
            reading.parameters.setdefault("eval_strategy", "epoch")
    else:
        reading.refuse(
            name,
            f"`{name}={value}` is a count of rows.",
            "Give a share below 1, or held-out rows as `eval_file`.",
        )


def _least_rate(reading: Translation, name: str, value: Any) -> None:
    least = number(value) * number(reading.left.get("learning_rate"))
    if least > 1:
        reading.refuse(name, f"`{name}={value}` needs a `learning_rate`.", "Give both as numbers.")
        return
    reading.take("lr_scheduler")
    reading.put(f"{name}={value}", {"lr_scheduler_type": "cosine_with_min_lr", "min_lr": least})


def _too_long(reading: Translation, name: str, value: Any) -> None:
    if str(value) == "raise":
        reading.refuse(
            name,
            f"`{name}=raise` is not done here.",
            "`tunesmith data validate` counts the rows that are cut.",
        )
    elif str(value) == "drop":
        reading.say(name, f"`{name}=drop`: rows that are too long are cut here, and counted.")
    else:
        reading.pass_over(name)


RULES: dict[str, Rule] = {
    **COMMON,
    "base_model": as_("model_name_or_path"),
    "base_model_config": harmless,
    "tokenizer_config": as_("tokenizer_name_or_path"),
    "adapter": _adapter,
    "lora_target_modules": _targets,
    "lora_target_linear": _targets,
    "lora_model_dir": as_("attach_lora_path"),
    "lora_modules_to_save": not_here(
        "Training whole layers beside the LoRA", "Train fully (no `adapter`), or leave it out."
    ),
    "lora_target_parameters": not_here(
        "A LoRA on single parameters", "Name layers in `lora_target_modules`."
    ),
    **table(
        "lora_rank_pattern lora_alpha_pattern peft_layers_to_transform peft_layers_pattern "
        "peft_layer_replication peft_trainable_token_indices",
        not_here("This choice of layers", "Give a `peft_config_path`."),
    ),
    "peft_init_lora_weights": only(
        (True,), "another start of a LoRA.", "Give `init_lora_weights` in a file, by `peft_config_path`."
    ),
    "peft_use_dora": as_("use_dora"),
    "peft_use_rslora": as_("use_rslora"),
    "peft": not_here("LoftQ", "Leave it out."),
    "sequence_len": as_("max_length"),
    "micro_batch_size": as_("per_device_train_batch_size"),
    "eval_batch_size": as_("per_device_eval_batch_size"),
    "sample_packing": as_("packing"),
    "excess_length_strategy": _too_long,
    "val_set_size": _held_out,
    "evals_per_epoch": how_often(True, "eval_strategy", "eval_steps"),
    "saves_per_epoch": how_often(True, "save_strategy", "save_steps"),
    "eval_steps": how_often(False, "eval_strategy", "eval_steps"),
    "save_steps": how_often(False, "save_strategy", "save_steps"),
    **table("bf16 fp16 bfloat16 float16 float32", _precision),
    **table("tf32 torch_compile", _automatic),
    "gradient_checkpointing": _recomputed,
    **table(
        "flash_attention sdp_attention eager_attention xformers_attention flex_attention sage_attention "
        "attn_implementation",
        _attention,
    ),
    "s2_attention": not_here("S2 attention"),
    "chat_template": templated(tuple(BUILT_IN), ("tokenizer_default",)),
    "chat_template_jinja": not_here(
        "A template inside the file", "Write it into a file, and name that as `chat_template`."
    ),
    "wandb_project": tracked,
    "wandb_name": tracked,
    "use_tensorboard": switch({"report_to": ["mlflow", "tensorboard"]}),
    "special_tokens": _special,
    **table(
        "tokens added_tokens_overrides resize_token_embeddings_to_32x reinit_weights",
        not_here("Adding or replacing tokens"),
    ),
    "model_type": _shape,
    "plugins": _plugins,
    "cosine_min_lr_ratio": _least_rate,
    "cosine_constant_lr_ratio": not_here(
        "A part of the schedule that stays constant", "Use `warmup_stable_decay`."
    ),
    "rl": not_here("Training on preferences or rewards", "Rows of answers are trained: leave `rl` out."),
    **table("reward_model process_reward_model", not_here("Training a reward model")),
    **table(
        "gptq qat fp8 relora diffusion ebft quantize_moe_experts unfrozen_parameters curriculum_sampling "
        "use_pose lisa_n_layers lr_groups embedding_lr embedding_lr_scale lr_quadratic_warmup "
        "jagged_restart_steps llmcompressor use_eaft use_onebitllms llama4_linearized_experts "
        "optim_target_modules dataset_exact_deduplication",
        not_here("This way of training"),
    ),
    "shuffle_merged_datasets": only((True,), "the order of rows is drawn by `seed`.", "Leave it out."),
    **table(
        "dp_shard_size dp_replicate_size context_parallel_size sequence_parallel_degree "
        "tensor_parallel_size expert_parallel_size",
        only((1,), "weights are parted by DeepSpeed here.", "Use `deepspeed_stage: 3`."),
    ),
    "train_on_inputs": switch({"assistant_only_loss": False}, {"assistant_only_loss": True}),
    "use_ray": harmless,
    "ray_num_workers": as_("num_workers"),
    "auto_resume_from_checkpoints": not_here(
        "Going on with whatever lies in a folder", "Continue the task (`tunesmith tasks continue`)."
    ),
    **table(
        "dataset_prepared_path dataset_processes dataset_num_proc dataset_keep_in_memory "
        "shuffle_before_merging_datasets push_dataset_to_hub skip_prepare_dataset eval_sample_packing "
        "pad_to_sequence_len pad_to_multiple_of sample_packing_group_size sample_packing_bin_size "
        "sample_packing_sequentially multipack_real_batches pretrain_multipack_attn "
        "pretrain_multipack_buffer_size streaming_multipack_buffer_size sample_packing_eff_est "
        "sample_packing_seq_len_multiplier max_packed_sequence_len total_num_tokens tokenizer_type "
        "processor_type tokenizer_use_fast tokenizer_legacy tokenizer_use_mistral_common "
        "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model is_falcon_derived_model "
        "strict lora_fan_in_fan_out lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel "
        "lora_on_cpu peft_autocast_adapter_dtype flash_attn_cross_entropy flash_attn_rms_norm "
        "flash_attn_fuse_mlp flash_attn_fuse_qkv flash_optimum fused_attn_kernel experts_implementation "
        "use_kernels use_scattermoe use_sonicmoe gemma4_hybrid_attn_impl flex_attn_compile_kwargs "
        "torch_compile_backend torch_compile_mode loss_watchdog_threshold loss_watchdog_patience gc_steps "
        "gc_collect_steps eval_table_size eval_max_new_tokens do_causal_lm_eval eval_causal_lm_metrics "
        "do_bench_eval bench_dataset activation_offloading layer_offloading selective_checkpointing "
        "freeze_mm_modules experimental_skip_move_to_device torchdistx_path mlflow_tracking_uri "
        "mlflow_experiment_name mlflow_run_name hf_mlflow_log_artifacts use_mlflow comet_project_name "
        "use_comet use_wandb wandb_run_id swanlab_project swanlab_mode trackio_project_name "
        "trackio_run_name trackio_space_id eot_tokens save_first_step include_tkps gpu_memory_limit "
        "gptq_groupsize gptq_model_v1 world_size num_labels tiled_mlp chunked_cross_entropy "
        "cut_cross_entropy accelerator_config min_sample_len low_cpu_mem_usage logging_strategy",
        harmless,
    ),
}
"""What is done with each name; a name of ours, or a spelling of one, passes as it is."""

_DEFAULTS: dict[str, Any] = {
    "max_length": 512,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.0,
    "gradient_checkpointing": False,
    "save_strategy": "epoch",
}


def _assume(reading: Translation) -> None:
    """What Axolotl takes where its file says nothing."""
    from tunesmith.spec.training import TrainSpec

    said = TrainSpec.meant(reading.parameters | reading.left)
    found: dict[str, Any] = dict(_DEFAULTS) | {"use_lora": False}
    if "warmup_steps" not in said:
        found["warmup_ratio"] = 0.03
    if said.get("save_steps") is not None:
        found["save_strategy"] = "steps"
    reading.assumed = {name: value for name, value in found.items() if said.get(name) is None}
    for name in [name for name in reading.left if name.startswith("liger_")]:
        reading.take(name)
        reading.pass_over(name)


def _batches(reading: Translation) -> None:
    """`batch_size` is there what a worker trains on in a step, over all its micro-batches."""
    whole, micro = reading.take("batch_size"), reading.left.get("micro_batch_size")
    if whole is None or reading.left.get("gradient_accumulation_steps") is not None:
        return
    try:
        steps, rest = divmod(int(whole), int(micro or 1))
    except (TypeError, ValueError):
        steps, rest = 0, 1
    if rest or steps < 1:
        reading.refuse(
            "batch_size", f"`batch_size={whole}` is no multiple of `micro_batch_size={micro}`.",
            "Give `gradient_accumulation_steps`.",
        )  # fmt: skip
    else:
        reading.put(f"batch_size={whole}", {"gradient_accumulation_steps": steps})
