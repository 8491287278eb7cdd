"""Which parameters of a training task rule each other out, each with the reason and the way on.

Knows what can be told from the parameters alone; what model, data or hardware rule out is looked at elsewhere.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.errors import Problem
from tunesmith.spec.checkpoint_scores import is_score
from tunesmith.spec.groups.lora import ALL_LINEAR, AUTO
from tunesmith.spec.optimizers import OPTIMIZERS, has_8_bit_form

if TYPE_CHECKING:
    from tunesmith.spec.training import TrainSpec

_OF_CLASSES = ("eval_accuracy", "eval_f1")


def conflicts(spec: "TrainSpec") -> list[Problem]:
    """Everything in a spec that cannot be together."""
    return [
        problem
        for look in (
            _precision,
            _evaluation,
            _scores,
            _columns,
            _lora,
            _quantisation,
            _optimizer,
            _deepspeed,
            _rest,
        )
        for problem in look(spec)
    ]


def _problem(field: str, message: str, hint: str) -> Problem:
    return Problem(field=field, message=message, hint=hint)


def _precision(spec: "TrainSpec") -> Iterator[Problem]:
    if spec.bf16 and spec.fp16:
        yield _problem(
            "fp16", "`bf16` and `fp16` exclude each other.", "Set one of them, or `precision=auto`."
        )
        return
    for name in ("bf16", "fp16"):
        if getattr(spec, name) and spec.precision not in ("auto", name):
            yield _problem(
                name, f"`{name}` contradicts `precision={spec.precision}`.", "Set only `precision`."
            )
    if spec.device == "cpu" and spec.chosen_precision == "fp16":
        place = "fp16" if spec.fp16 else "precision"
        yield _problem(place, "`fp16` needs a GPU, and `device=cpu` rules it out.", "Use `precision=auto`.")
    if spec.attn_implementation == "flash_attention_2" and spec.device == "cpu":
        yield _problem(
            "attn_implementation",
            "`flash_attention_2` needs a GPU, and `device=cpu` rules it out.",
            "Use `attn_implementation=auto`.",
        )
    if spec.attn_implementation == "flash_attention_2" and spec.chosen_precision == "fp32":
        yield _problem(
            "attn_implementation",
            "`flash_attention_2` computes in 16 bits only, and `precision=fp32` rules that out.",
            "Use `precision=auto`, or `attn_implementation=sdpa`.",
        )


def _evaluation(spec: "TrainSpec") -> Iterator[Problem]:
    metric = spec.metric_for_best_model
    if spec.eval_strategy != "no":
        if spec.eval_file is None and spec.eval_sampling_ratio == 0:
            yield _problem(
                "eval_strategy",
                "`eval_strategy` needs rows to evaluate.",
                "Give `eval_file` or `eval_sampling_ratio`, or set `eval_strategy=no`.",
            )
        if metric in _OF_CLASSES and spec.training_type != "classification":
            yield _problem(
                "metric_for_best_model",
                f"`{metric}` is measured for classification only.",
                "Use `eval_loss` or `eval_perplexity`.",
            )
        if metric == "eval_perplexity" and spec.training_type == "classification":
            yield _problem(
                "metric_for_best_model",
                "`eval_perplexity` is measured for text, not for classes.",
                "Use `eval_loss`, `eval_accuracy` or `eval_f1`.",
            )
        return
    by_score = is_score(metric)
    needing = {
        "early_stopping_patience": spec.early_stopping_patience > 0 and not by_score,
        "metric_for_best_model": metric != "eval_loss" and not by_score,
        "save_strategy": spec.save_strategy == "best",
        "lr_scheduler_type": spec.lr_scheduler_type == "reduce_lr_on_plateau",
    }
    for name, needs in needing.items():
        if needs:
            yield _problem(
                name,
                f"`{name}={getattr(spec, name)}` needs evaluations, and `eval_strategy=no` makes none.",
                "Set `eval_strategy=steps` or `epoch`, with `eval_file` or `eval_sampling_ratio`.",
            )


def _scores(spec: "TrainSpec") -> Iterator[Problem]:
    metric = spec.metric_for_best_model
    if spec.evaluate_checkpoints and spec.training_type == "classification":
        yield _problem(
            "evaluate_checkpoints",
            "A classifier gives no answers that could be scored.",
            "Use `eval_strategy` with `metric_for_best_model=eval_accuracy` or `eval_f1`.",
        )
    if not is_score(metric):
        return
    if not spec.evaluate_checkpoints:
        yield _problem(
            "metric_for_best_model",
            f"`{metric}` is a score of answers, and `evaluate_checkpoints=false` scores none.",
            "Set `evaluate_checkpoints=true`, or use `eval_loss`.",
        )
    elif spec.save_strategy == "best" and spec.eval_strategy != "no":
        yield _problem(
            "save_strategy",
            f"`save_strategy=best` saves when `{metric}` is better, and `{metric}` is of checkpoints that are saved.",
            "Use `save_strategy=steps` or `epoch`: the best checkpoint is marked and kept, or another metric.",
        )
    elif spec.save_strategy == "no" and spec.early_stopping_patience > 0:
        yield _problem(
            "early_stopping_patience",
            f"`early_stopping_patience` counts checkpoints by `{metric}`, and `save_strategy=no` saves the last alone.",
            "Use `save_strategy=steps` or `epoch`.",
        )


def _columns(spec: "TrainSpec") -> Iterator[Problem]:
    pairs = [name for name in ("prompt_column", "response_column") if getattr(spec, name) is not None]
    if spec.text_column is not None and pairs and spec.training_type == "sft":
        yield _problem(
            "text_column",
            f"`text_column` and `{pairs[0]}` exclude each other: a row is plain text, or a prompt and its response.",
            "Give `text_column` alone, or `prompt_column` with `response_column`.",
        )


def _lora(spec: "TrainSpec") -> Iterator[Problem]:
    for alone in (ALL_LINEAR, AUTO):
        if alone in spec.target_modules and len(spec.target_modules) > 1:
            yield _problem("target_modules", f"`{alone}` stands alone.", f"Leave out `{alone}`, or the rest.")
    if not spec.attach_lora:
        return
    if spec.attach_lora_path is None:
        yield _problem(
            "attach_lora_path", "`attach_lora` needs the weights to attach.", "Give `attach_lora_path`."
        )
    if not spec.use_lora:
        yield _problem(
            "attach_lora",
            "`attach_lora` trains a LoRA further, and `use_lora=false` trains none.",
            "Set `use_lora=true`, or leave out `attach_lora_path`.",
        )
    for name in ("peft_config_path", "resume_from_checkpoint"):
        if getattr(spec, name) is not None:
            yield _problem(
                name,
                f"`attach_lora` and `{name}` both say which LoRA the training starts from.",
                "Give one of them.",
            )


def _quantisation(spec: "TrainSpec") -> Iterator[Problem]:
    if spec.load_in_4bit and spec.load_in_8bit:
        yield _problem(
            "load_in_8bit", "`load_in_4bit` and `load_in_8bit` exclude each other.", "Set one of them."
        )
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(spec, name) and not spec.use_lora:
            yield _problem(
                name,
                f"`{name}` keeps the base model in integers, which cannot be trained themselves.",
                f"Set `use_lora=true`, or `{name}=false`.",
            )


def _optimizer(spec: "TrainSpec") -> Iterator[Problem]:
    if spec.use_8bit_optimizer and not has_8_bit_form(spec.optim):
        yield _problem(
            "use_8bit_optimizer",
            f"`{spec.optim}` has no 8-bit form.",
            "Use `optim=adamw_torch`, or turn `use_8bit_optimizer` off.",
        )
    if OPTIMIZERS[spec.optim].is_low_rank and spec.use_lora:
        yield _problem(
            "optim",
            f"`optim={spec.optim}` projects the gradients of whole weight matrices; LoRA trains none.",
            "Set `use_lora=false`, or use `optim=adamw_torch`.",
        )
    if (
        spec.lr_scheduler_type in ("cosine_with_min_lr", "warmup_stable_decay")
        and spec.min_lr >= spec.learning_rate
    ):
        yield _problem(
            "min_lr",
            f"`min_lr={spec.min_lr:g}` is no less than `learning_rate={spec.learning_rate:g}`.",
            "Choose a smaller one; a tenth of the learning rate is usual.",
        )


def _deepspeed(spec: "TrainSpec") -> Iterator[Problem]:
    if spec.deepspeed is not None:
        return  # what a file of the user's own says is looked at where it is read
    if spec.deepspeed_stage == 3:
        for name in ("load_in_4bit", "load_in_8bit"):
            if getattr(spec, name):
                yield _problem(
                    "deepspeed_stage",
                    f"ZeRO stage 3 shares out the weights, and `{name}` packs them in a form that cannot be.",
                    f"Use `deepspeed_stage=2`, or `{name}=false`.",
                )
    if spec.deepspeed_stage == 2 and spec.deepspeed_offload in ("optimizer_and_param_cpu", "nvme"):
        yield _problem(
            "deepspeed_offload",
            f"`deepspeed_offload={spec.deepspeed_offload}` moves weights, which only stage 3 shares out.",
            "Use `deepspeed_stage=3`, or `deepspeed_offload=optimizer_cpu`.",
        )


def _rest(spec: "TrainSpec") -> Iterator[Problem]:
    if spec.max_steps == 0:
        yield _problem(
            "max_steps", "`max_steps=0` would train nothing.", "It is -1 (unlimited) or at least 1."
        )
    if "none" in spec.report_to and len(spec.report_to) > 1:
        yield _problem("report_to", "`none` stands alone.", "Leave out `none`, or the rest.")
