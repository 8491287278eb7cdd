"""The cases of `test_parameter_effects`: another value of each parameter of each kind, and what shows of it."""

from typing import Any

import effects_of_results as results
from effects_of_models import (
    answered,
    as_training,
    asked,
    deployed,
    drawn,
    engine_of,
    made_rows,
    of_whole_model,
    packed,
    pulled,
    uploaded,
)
from effects_of_training import (
    adapter,
    argument,
    chosen,
    configured,
    data,
    due,
    evaluated,
    final,
    kept,
    level,
    loader,
    order,
    quantized,
    sampled,
    sinks,
    start,
    taken,
    text,
    tracked,
    trained,
    without_memory,
    worker,
    zero,
)
from effects_place import ROWS, Case, Shows

from tunesmith.errors import InvalidInput
from tunesmith.spec.checkpoint_scores import best_by_score, evaluation_of

REFUSED = InvalidInput
LORA_OFF = {"use_lora": False}


def scoring(name: str) -> Shows:
    """A parameter of the evaluation that a checkpoint gets."""
    return lambda spec, _: evaluation_of(spec, "task-1", 4).get(name)


EVALUATES = {"eval_strategy": "steps", "eval_steps": 2, "eval_sampling_ratio": 0.25}
PLAIN = {"train_file": "{folder}/plain.jsonl"}
ASKED = {"prompt_column": "question", "response_column": "reply"}
CLASSES = {"training_type": "classification", "text_column": "text"}
BEST = EVALUATES | {"save_strategy": "best"}
SCORED = {"evaluate_checkpoints": True}

CASES: dict[str, Case] = {
    # what to train, and where
    "training_type": Case("pretrain", data(lambda one: type(one.rows).__name__), "BlockRows", before="Rows"),
    "device": Case("gpu", chosen("device"), REFUSED, before="cpu"),
    "eval_file": Case("{folder}/talks.jsonl", data(lambda one: one.eval_examples), ROWS, before=0),
    "tokenizer_name_or_path": Case(
        "{folder}/tokenizer", data(lambda one: "content'] }} {{ eos" in str(one.chosen_template)), True
    ),
    "attach_lora": Case(True, configured("r"), REFUSED, before=16),
    "attach_lora_path": Case("{folder}/second", configured("r"), 5, before=16),
    "max_samples": Case(5, data(lambda one: len(one.rows)), 5, before=ROWS),
    "allowed_bad_percent": Case(50, data(lambda one: one.loaded.skipped, "bad.jsonl"), 1, before=REFUSED),
    "eval_sampling_ratio": Case(0.25, data(lambda one: (one.examples, one.eval_examples)), (12, 4)),
    "reshuffle_each_epoch": Case(True, order, False, before=True),
    "dataloader_num_workers": Case(3, loader("num_workers"), 3, before=1),
    "dataloader_pin_memory": Case(True, loader("pin_memory"), True, before=False),
    "text_column": Case("other", data(text, "plain.jsonl"), ..., {"training_type": "pretrain"}),
    "prompt_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "response_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "system_column": Case("rules", data(text, "plain.jsonl"), ..., ASKED),
    "label_column": Case(
        "half", data(lambda one: one.classes), ("high", "low"), CLASSES, before=("even", "odd")
    ),
    "chat_template": Case("{folder}/tokenizer/chat_template.jinja", data(text), ...),
    "assistant_only_loss": Case(False, data(lambda one: one.rows.supervised), ...),
    # steps
    "per_device_train_batch_size": Case(5, argument("per_device_train_batch_size"), 5, before=2),
    "gradient_accumulation_steps": Case(3, argument("gradient_accumulation_steps"), 3, before=4),
    "max_length": Case(24, data(lambda one: max(one.rows.lengths) <= 24), True, before=False),
    "learning_rate": Case(3e-3, argument("learning_rate"), 3e-3, before=2e-4),
    "optim": Case("adafactor", argument("optim"), "adafactor"),
    "lr_scheduler_type": Case("linear", argument("lr_scheduler_type"), "linear", before="cosine"),
    "num_train_epochs": Case(5, argument("max_steps"), 65, before=26),
    "max_steps": Case(7, argument("max_steps"), 7, before=26),
    "packing": Case(True, data(lambda one: type(one.rows).__name__), "PackedRows", before="Rows"),
    "weight_decay": Case(0.5, argument("weight_decay"), 0.5, before=0.01),
    "warmup_ratio": Case(0.5, argument("warmup_steps"), 13, before=3),
    "warmup_steps": Case(9, argument("warmup_steps"), 9, before=3),
    "max_grad_norm": Case(0.25, argument("max_grad_norm"), 0.25, before=1.0),
    "num_cycles": Case(
        3,
        argument("lr_scheduler_kwargs"),
        {"num_cycles": 3},
        {"lr_scheduler_type": "cosine_with_restarts"},
        {"num_cycles": 2},
    ),
    "min_lr": Case(
        1e-5,
        argument("lr_scheduler_kwargs"),
        {"min_lr": 1e-5},
        {"lr_scheduler_type": "cosine_with_min_lr"},
        {"min_lr": 0.0},
    ),
    "num_decay_steps": Case(
        6,
        argument("lr_scheduler_kwargs"),
        {"num_decay_steps": 6, "min_lr_ratio": 0.0},
        {"lr_scheduler_type": "warmup_stable_decay"},
    ),
    # what is due when
    "save_strategy": Case("epoch", due("save"), [4, 8], {"save_steps": 3}, [3, 6, 8]),
    "save_steps": Case(2, due("save"), [2, 4, 6, 8], {"save_strategy": "steps"}, [8]),
    "save_interval_minutes": Case(2, due("save", minutes_a_step=1), [2, 4, 6, 8], {"save_steps": 100}, [8]),
    "eval_strategy": Case(
        "epoch", due("evaluate"), [4, 8], {"eval_sampling_ratio": 0.25, "eval_steps": 2}, []
    ),
    "eval_steps": Case(
        3, due("evaluate"), [3, 6, 8], {"eval_strategy": "steps", "eval_sampling_ratio": 0.25}, [8]
    ),
    # what the platform makes of it: an evaluation of each checkpoint
    "evaluate_checkpoints": Case(
        True, lambda spec, _: best_by_score(spec.model_dump()), "composite", before=None
    ),
    "evaluation_sample_file": Case("default", scoring("sample_file"), "default", SCORED, None),
    "evaluation_max_samples": Case(9, scoring("max_samples"), 9, SCORED, 128),
    "evaluation_max_new_tokens": Case(7, scoring("max_new_tokens"), 7, SCORED, 256),
    "metric_for_best_model": Case("eval_perplexity", due("save"), [2, 8], BEST, [2, 4, 6, 8]),
    "early_stopping_patience": Case(1, due("training_stop"), [6], EVALUATES, [8]),
    "early_stopping_threshold": Case(
        0.001, due("training_stop"), [8], EVALUATES | {"early_stopping_patience": 1}, [6]
    ),
    "logging_steps": Case(3, due("log"), [3, 6, 8], before=[8]),
    # the adapter, and how its base is held
    "use_lora": Case(False, adapter(lambda model, _: hasattr(model, "peft_config")), False, before=True),
    "r": Case(5, configured("r"), 5, before=16),
    "lora_alpha": Case(7, configured("lora_alpha"), 7, before=16),
    "lora_dropout": Case(0.25, configured("lora_dropout"), 0.25, before=0.0),
    "target_modules": Case(["v_proj"], configured("target_modules"), {"v_proj"}),
    "bias": Case("lora_only", configured("bias"), "lora_only", before="none"),
    "use_rslora": Case(True, configured("use_rslora"), True, before=False),
    "use_dora": Case(True, adapter(lambda *one: "magnitude" in str(trained(*one))), True, before=False),
    "peft_config_path": Case("{folder}/lora.json", configured("r"), 3, before=16),
    "precision": Case("fp32", chosen("precision", "amx_bf16"), "fp32", before="bf16"),
    "bf16": Case(True, chosen("precision"), REFUSED, before="fp32"),
    "fp16": Case(True, chosen("precision"), REFUSED, before="fp32"),
    "tf32": Case(True, chosen("warnings"), ["tf32_unavailable"], before=[]),
    "gradient_checkpointing": Case(True, argument("activation_checkpointing"), True, before=False),
    "load_in_4bit": Case(True, quantized("load_in_4bit"), True, before=None),
    "load_in_8bit": Case(True, quantized("load_in_8bit"), True, before=None),
    "bnb_4bit_quant_type": Case(
        "fp4", quantized("bnb_4bit_quant_type"), "fp4", {"load_in_4bit": True}, "nf4"
    ),
    "bnb_4bit_compute_dtype": Case(
        "float16",
        lambda *one: str(quantized("bnb_4bit_compute_dtype")(*one)),
        "torch.float16",
        {"load_in_4bit": True},
    ),
    "bnb_4bit_use_double_quant": Case(
        False, quantized("bnb_4bit_use_double_quant"), False, {"load_in_4bit": True}, True
    ),
    "use_8bit_optimizer": Case(True, argument("optim"), "adamw_8bit"),
    "attn_implementation": Case("eager", chosen("attention"), "eager", before="sdpa"),
    "torch_compile": Case(True, argument("torch_compile"), True, before=False),
    # workers
    "num_workers": Case(2, worker("num_workers"), 2, before=1),
    "resources_per_worker": Case({"CPU": 3}, worker("reserves"), {"CPU": 3}, before={"CPU": 8.0}),
    "placement": Case("spread", worker("placement_strategy"), "SPREAD", before="PACK"),
    "max_restarts": Case(1, worker("restarts"), 1, before=3),
    "deepspeed_stage": Case(
        2, zero(lambda config: config["zero_optimization"]["stage"]), 2, {"deepspeed_stage": 1}, 1
    ),
    "deepspeed_offload": Case(
        "optimizer_cpu",
        zero(lambda config: "offload_optimizer" in config["zero_optimization"]),
        True,
        {"deepspeed_stage": 2},
        False,
    ),
    "deepspeed": Case("{folder}/zero.json", worker("is_group"), True, before=False),
    # reports
    "log_level": Case("error", level, "error", before="info"),
    "report_to": Case(["tensorboard"], sinks, ["tensorboard"], before=[]),
    "wandb_project": Case("mine", tracked("project"), "mine", before="tunesmith"),
    "wandb_name": Case("this one", tracked("name"), "this one", before="run"),
    "sample_prompts": Case(["Two?"], sampled, [("Two?", 64)], before=[]),
    "sample_max_new_tokens": Case(
        5, sampled, [("Two?", 5)], given={"sample_prompts": ["Two?"]}, before=[("Two?", 64)]
    ),
    "seed": Case(7, argument("seed"), 7, before=42),
    "model_name_or_path": Case("{folder}/tokenizer", taken("model_path"), "tokenizer", before="model"),
    "train_file": Case("{folder}/bad.jsonl", taken("train_path"), "bad.jsonl", before="talks.jsonl"),
    "output_dir": Case("{folder}/out", taken("output_dir"), "out", before=None),
    "resume_from_checkpoint": Case("{folder}/first", start, 7, given={"r": 2}, before=None),
    "shrink_batch_on_oom": Case(True, without_memory, "TooLarge", given=EVALUATES, before="OutOfMemoryError"),
    "save_total_limit": Case(1, kept, [3], before=[1, 2, 3]),
    "per_device_eval_batch_size": Case(3, evaluated, [3, 1], given=EVALUATES),
    "merge_lora_after_training": Case(
        True,
        final,
        ["adapter/adapter_model.safetensors", "model.safetensors"],
        before=["adapter_model.safetensors"],
    ),
}


OWN = {"preset": "custom"}
APART = {"merge_lora": False, "export_lora_gguf": True}
TALKS = {"prompts": None, "dataset": "{folder}/talks.jsonl"}
SAMPLED = {"temperature": 1.5}
OF_KINDS: dict[str, dict[str, Case]] = {
    "generate": {
        "prompts": Case(["Two?"], asked, ["user: Two?"], before=["user: One?"]),
        "dataset": Case(
            "{folder}/talks.jsonl", asked, ["user: What is 0 plus 0?"],
            given={"prompts": None}, before=REFUSED,
        ),
        "prompt_column": Case(
            "rules", asked, ["user: Be brief."], given=TALKS | {"dataset": "{folder}/plain.jsonl"},
            before=["user: How many are 0?"],
        ),
        "system_prompt": Case("Be kind.", asked, ["system: Be kind.", "user: One?"], before=["user: One?"]),
        "max_new_tokens": Case(3, drawn("max_new_tokens"), 3, before=8),
        "temperature": Case(0.7, drawn("do_sample"), True, before=False),
        "top_p": Case(0.3, drawn("top_p"), 0.3, given=SAMPLED, before=0.9),
        "seed": Case(7, answered(lambda rows: rows), ..., given=SAMPLED),
        "per_device_eval_batch_size": Case(3, drawn("at once"), 3, given=TALKS, before=8),
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
    },
    "package": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
        "format": Case("gguf", lambda spec, _: spec.format, REFUSED, before="safetensors"),
        "preset": Case("merge_only", packed, ["m-4.gguf with the adapter"], before=[]),
        "merge_lora": Case(
            False, packed, ["m-base-Q4_K_M.gguf"], given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"]
        ),
        "export_gguf": Case(
            False, packed, ["checkpoint-4-lora.gguf"], given=OWN | APART,
            before=["m-base-Q4_K_M.gguf", "checkpoint-4-lora.gguf"],
        ),
        "quantize": Case(
            False, packed, ["m-4.gguf with the adapter"], given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"]
        ),
        "quant_types": Case(
            ["Q8_0", "F16", "Q8_0"], packed, ["m-4-Q8_0.gguf with the adapter", "m-4-F16.gguf with the adapter"],
            given=OWN, before=["m-4-Q4_K_M.gguf with the adapter"],
        ),
        "export_lora_gguf": Case(
            True, packed, ["m-base-Q4_K_M.gguf", "checkpoint-4-lora.gguf"], given=OWN | {"merge_lora": False},
            before=["m-base-Q4_K_M.gguf"],
        ),
        "export_adapter_zip": Case(True, of_whole_model, REFUSED, before=None),
        "split_size": Case("3M", of_whole_model, 3_000_000, given=OWN, before=None),
        "external_converter": Case(
            True, lambda spec, _: results.is_left_to_converter(spec), True, given=OWN | {"quantize": False},
            before=REFUSED,
        ),
        "importance_matrix": Case("training", lambda spec, _: spec.matrix_rows, "training", given=OWN, before=None),
        "importance_tokens": Case(
            700, lambda spec, place: results.weighed_tokens(spec, place.folder, place.model), 700, before=8192
        ),
        "model_name": Case("Llama-Ours", lambda spec, _: results.called(spec), "Llama-Ours", before="m"),
        "accept_license": Case(True, lambda spec, _: results.license_told(spec), 1, before=REFUSED),
    },
    "prove": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
    },
    "upload": {
        "repo_id": Case("me/other", uploaded("repo_id"), "me/other", before="me/model"),
        "public": Case(True, uploaded("public"), True, before=False),
        "revision": Case("next", uploaded("revision"), "next", before=None),
        "token": Case("${env.OTHER_TOKEN}", uploaded("token"), "another", before="one"),
    },
    "pull": {
        "repo_id": Case("me/other", pulled("repo_id"), "me/other", before="me/model"),
        "revision": Case("next", pulled("revision"), "next", before=None),
        "hub": Case("modelscope", pulled("hub"), "modelscope", before="huggingface"),
        "token": Case("${env.OTHER_TOKEN}", pulled("token"), "another", before="one"),
    },
    "chat": {
        "chat_template": Case("chatml", as_training("chat_template"), "chatml", before=None),
        "device": Case("cpu", as_training("device"), "cpu", before="auto"),
        "precision": Case("bf16", as_training("precision"), "bf16", before="auto"),
        "resources_per_worker": Case(
            {"CPU": 3}, deployed(lambda options: options["ray_actor_options"]["num_cpus"]), 3, before=8
        ),
        "engine": Case("transformers", engine_of("engine"), "transformers", before="auto"),
        "context_length": Case(512, engine_of("context_length"), 512, before=None),
        "max_adapters": Case(3, engine_of("max_adapters"), 3, before=8),
        "max_running": Case(3, engine_of("max_running"), 3, before=8),
        "threads": Case(1, engine_of("threads"), 1, before=2),
        "idle_timeout": Case(
            0, deployed(lambda options: options["autoscaling_config"]["min_replicas"]), 1, before=0
        ),
    },
    "dataset": {
        "operation": Case("split", made_rows, {"train": 14, "eval": 2}, before={"data": ROWS}),
        "parameters": Case({"dataset": "{folder}/bad.jsonl"}, made_rows, {"data": ROWS + 1}, before={"data": ROWS}),
    },
}  # fmt: skip
GIVEN: dict[str, dict[str, Any]] = {
    "generate": {"model_name_or_path": "{model}", "prompts": ["One?"], "max_new_tokens": 8},
    "package": {"model_name_or_path": "{model}"},
    "chat": {"model_name_or_path": "{model}"},
    "prove": {"model_name_or_path": "{model}"},
    "upload": {"task_id": "task-1", "repo_id": "me/model"},
    "pull": {"repo_id": "me/model"},
    "dataset": {"operation": "shuffle", "parameters": {"dataset": "{folder}/talks.jsonl"}},
}
"""What a task of each of the other kinds is given, where its case says nothing else."""
