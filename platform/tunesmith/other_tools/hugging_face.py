"""Names of Hugging Face's `TrainingArguments` and of its loaders that other tools' files carry along.

What both LLaMA-Factory and Axolotl hand through to that trainer is read the same way for both. Knows names; knows
nothing of what a whole file is.
"""

from typing import Any

from tunesmith.other_tools.rules import (
    Rule,
    Translation,
    as_,
    harmless,
    is_off,
    is_on,
    not_here,
    only,
    shown,
    table,
)

REWRITE = "Take the files apart and write the rows that are wanted, or leave it out."

SHARED: dict[str, Rule] = {
    **table(
        "ddp_timeout ddp_backend ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers local_rank "
        "logging_dir logging_first_step logging_nan_inf_filter log_on_each_node disable_tqdm include_for_metrics "
        "include_num_input_tokens_seen include_tokens_per_second overwrite_output_dir remove_unused_columns "
        "dataloader_prefetch_factor dataloader_persistent_workers save_safetensors save_only_model "
        "torch_empty_cache_steps gradient_checkpointing_kwargs use_cache low_cpu_mem_usage cache_dir group_by_length "
        "length_column_name eval_accumulation_steps eval_on_start batch_eval_metrics prediction_loss_only "
        "skip_memory_metrics debug full_determinism hub_token hub_private_repo hub_strategy tf32_matmul wandb_entity "
        "wandb_watch wandb_log_model wandb_run_id wandb_mode use_fast_tokenizer hf_hub_token ms_hub_token "
        "hf_use_auth_token device_map auto_find_batch_size include_effective_tokens_per_second",
        harmless,
    ),
    "do_eval": harmless,
    "logging_strategy": only(("steps",), "curves are logged by steps.", "Set `logging_steps`."),
    "data_seed": not_here("A seed of its own for the rows", "Set `seed`."),
    "dataloader_drop_last": not_here(
        "Leaving out the last rows of an epoch", "Leave it out: every row is trained."
    ),
    "label_smoothing_factor": not_here("Label smoothing"),
    "neftune_noise_alpha": not_here("NEFTune's noise"),
    "noisy_embedding_alpha": not_here("NEFTune's noise"),
    "adam_beta1": only((0.9,), "the optimizer's first beta is 0.9 here.", "Leave it out."),
    "adam_beta2": only((0.999,), "the optimizer's second beta is 0.999 here.", "Leave it out."),
    "adam_epsilon": only((1e-8,), "the optimizer's epsilon is 1e-8 here.", "Leave it out."),
    "adam_eps": only((1e-8,), "the optimizer's epsilon is 1e-8 here.", "Leave it out."),
    "optim_args": not_here("Passing arguments to an optimizer by text"),
    "greater_is_better": harmless,
    "push_to_hub": not_here(
        "Pushing a model to the Hub during training", "Leave it out, and push the finished model."
    ),
    "hub_model_id": harmless,
    "model_revision": only(
        ("main",), "a model is pulled at its revision first.", "`tunesmith models pull ID --revision R`."
    ),
    "revision_of_model": only(
        ("main",), "a model is pulled at its revision first.", "`tunesmith models pull ID --revision R`."
    ),
    "fsdp": not_here("FSDP", "Use `deepspeed_stage: 3`, which parts the weights as well."),
    "fsdp_config": not_here("FSDP", "Use `deepspeed_stage: 3`, which parts the weights as well."),
    "fsdp_version": harmless,
    "streaming": harmless,
    "buffer_size": harmless,
    "loraplus_lr_ratio": not_here("LoRA+ (learning rates of its own for B)"),
    "loraplus_lr_embedding": harmless,
    "enable_liger_kernel": harmless,
    "use_liger_kernel": harmless,
}


def trusted(reading: Translation, name: str, value: Any) -> None:
    """Say that code of models is never run."""
    if is_on(value):
        reading.say(
            name, f"`{name}`: code that comes with a model is never run; what transformers knows needs none."
        )
    else:
        reading.pass_over(name)


def resumed(reading: Translation, name: str, value: Any) -> None:
    """A checkpoint's path; not the wish for whichever is newest."""
    if is_on(value):
        reading.refuse(
            name,
            f"`{name}=true` takes the newest checkpoint of a folder.",
            "Continue the task (`tunesmith tasks continue TASK`), or name the checkpoint.",
        )
    elif is_off(value):
        reading.pass_over(name)
    else:
        reading.parameters[name] = value


def best(reading: Translation, name: str, value: Any) -> None:
    """The final model is the last one; the best checkpoint is kept beside it."""
    if is_on(value):
        reading.say(name, f"`{name}`: the final model is the last step's; the best checkpoint is kept too.")
    else:
        reading.pass_over(name)


def templated(known: tuple[str, ...], own: tuple[str, ...] = ()) -> Rule:
    """The name of another tool's copy of a chat template: the model's own is taken, unless it is built in here.

    Args:
        known: Templates that are built in.
        own: Words for the model's own.
    """

    def read(reading: Translation, name: str, value: Any) -> None:
        word = str(value)
        if word in known or "/" in word or word.endswith((".jinja", ".jinja2", ".j2")):
            reading.put(f"{name}={word}", {"chat_template": word})
        elif word in own:
            reading.pass_over(name)
        elif word in ("default", "empty", "vanilla", "jinja", "original", "fewshot"):
            reading.refuse(
                name,
                f"`{name}={word}` writes turns in a way of {reading.tool}'s own.",
                f"Leave it out for the model's own template, or give `chat_template`: {', '.join(known)} or a Jinja "
                "file.",
            )
        else:
            reading.say(
                "chat_template",
                f"`{name}={word}` names {reading.tool}'s copy of a template: the model's own is taken; set "
                "`chat_template` where it has none.",
            )

    return read


def tracked(reading: Translation, name: str, value: Any) -> None:
    """A tracker's project or run."""
    ours = {"wandb_project": "wandb_project", "wandb_name": "wandb_name"}[name]
    trackers = reading.parameters.get("report_to") or ["mlflow"]
    trackers = [trackers] if isinstance(trackers, str) else list(trackers)
    reading.parameters["report_to"] = [*trackers, *(["wandb"] if "wandb" not in trackers else [])]
    reading.put(name, {ours: value})


def how_often(per_epoch: bool, strategy: str, steps: str) -> Rule:
    """How often is evaluated or saved: so often an epoch, or a share of the run, or each so many steps."""

    def read(reading: Translation, name: str, value: Any) -> None:
        try:
            count = float(value)
        except (TypeError, ValueError):
            count = 0.0
        if not per_epoch and count >= 1:
            reading.parameters[steps] = value
            reading.parameters.setdefault(strategy, "steps")
        elif is_off(value):
            reading.put(f"{name}={shown(value)}", {strategy: "no"})
        else:
            reading.put(f"{name}={shown(value)}", {strategy: "epoch"})
            if count != 1:
                reading.say(steps, f"Once an epoch is meant by that; set `{steps}` for another interval.")

    return read


COMMON: dict[str, Rule] = {
    **SHARED,
    "trust_remote_code": trusted,
    "resume_from_checkpoint": resumed,
    "load_best_model_at_end": best,
    "data_parallel_size": as_("num_workers"),
}
