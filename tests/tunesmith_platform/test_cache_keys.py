"""The keys under which things are kept on disk, by name and by value: what users have already stays found."""

from pathlib import Path

import pytest

from tunesmith.rows.shapes import Shape
from tunesmith.spec.parameter import Group, param
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches import token_cache
from tunesmith_platform.estimates import measure
from tunesmith_platform.file_state import FileState
from tunesmith_platform.sandbox import count_tokens
from tunesmith_platform.tasks import inputs

ENCODING = (
    "training_type", "text_column", "prompt_column", "response_column", "system_column", "label_column",
    "chat_template", "assistant_only_loss", "allowed_bad_percent",
)  # fmt: skip
SPEC = TrainSpec.read(
    {
        "model_name_or_path": "/m",
        "train_file": "/rows.jsonl",
        "prompt_column": "q",
        "response_column": "a",
        "allowed_bad_percent": 3,
    }
)
COUNTS = "1cde1f0e09cb57927f674e6f5ac3dc2d"
TOKENS = "cadb8aeac0219df31a49db4742632b9ca94f6d77ad55b9b4c4230c4c19a56155"
"""A parameter that changes one of these has every user's counts or tokens made anew: the changelog says so."""


def test_the_names_in_keys() -> None:
    assert (*ENCODING, "tokenizer_name_or_path") == count_tokens._ENCODING
    kept = {"training_type", "max_length", "assistant_only_loss", "allowed_bad_percent"}
    assert kept == token_cache._PARAMETERS
    assert {
        "attach_lora_path", "early_stopping_patience", "early_stopping_threshold", "eval_file", "eval_steps",
        "eval_strategy", "evaluate_checkpoints", "evaluation_max_new_tokens", "evaluation_max_samples",
        "evaluation_sample_file", "learning_rate", "log_level", "logging_steps", "lora_alpha", "lr_scheduler_type",
        "max_restarts", "max_steps", "merge_lora_after_training", "metric_for_best_model", "min_lr", "num_cycles",
        "num_decay_steps", "num_train_epochs", "output_dir", "report_to", "resume_from_checkpoint",
        "sample_max_new_tokens", "sample_prompts", "save_interval_minutes", "save_steps", "save_strategy",
        "save_total_limit", "use_rslora", "wandb_name", "wandb_project", "warmup_ratio", "warmup_steps",
        "weight_decay",
    } == measure._INDIFFERENT  # fmt: skip


def test_the_key_of_kept_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_tokens, "state_of", lambda path: FileState(str(path), 1, 2))
    assert count_tokens.CountSource(Path("/rows.jsonl"), Path("/m"), SPEC).key == COUNTS


def test_the_key_of_kept_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(token_cache, "_code", lambda: "the code that encodes")
    monkeypatch.setattr(token_cache.metadata, "version", lambda name: "1")

    class Rows:
        format, packing = "jsonl", None

    class File:
        spec, file, model, tokenizer, template, samples = SPEC, Path("rows.jsonl"), tmp_path, None, None, 0
        rows, shape = Rows, Shape("pair", prompt="q", response="a")

    assert token_cache.key_of(File, "ab" * 32) == TOKENS


# --- a parameter of which nobody said what it does


class Forgetful(TrainSpec):
    """A training with one."""

    new: str | None = param(None, label=("New", "新"), help=("New.", "新。"), group=Group.DATA, path="always")


def test_a_forgotten_parameter_is_looked_at_as_a_path() -> None:
    assert [name for name, _ in inputs._swept(TrainSpec)] == [
        "tokenizer_name_or_path", "resume_from_checkpoint", "attach_lora_path", "chat_template", "peft_config_path",
        "deepspeed",
    ]  # fmt: skip
    assert {name for name, _ in inputs._swept(Forgetful)} - {
        name for name, _ in inputs._swept(TrainSpec)
    } == {"new"}
