"""A training of one step on a model made up on the spot: all that training loads on first use is loaded by it."""

import json
import logging
from pathlib import Path

from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.outlet import Silent
from tunesmith_jobs.train.core import train
from tunesmith_jobs.train.job import Identity, Paths

_log = logging.getLogger("tunesmith_jobs.warm")
_TEMPLATE = "{% for message in messages %}{{ '<s>' + message['role'] + ' ' + message['content'] + '</s>' }}{% endfor %}"


def rehearse(folder: Path) -> Outcome:
    """Train one step on a made-up model, so that all that training loads on first use is loaded."""
    model, rows = _make_model(folder / "model"), folder / "rows.jsonl"
    talk = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "two one"}]
    rows.write_text(json.dumps({"messages": talk}) + "\n")
    spec = TrainSpec.read(
        {
            "model_name_or_path": str(model),
            "train_file": str(rows),
            "max_steps": 1,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "target_modules": ["all-linear"],
            "device": "cpu",
        }
    )
    paths = Paths(model, rows, None, str(folder / "artifacts"), folder / "scratch")
    outcome = train(spec, paths, Silent(), Identity("rehearsal"))
    _log.info("rehearsed: %s %s", outcome.outcome, outcome.message)
    return outcome


def _make_model(folder: Path) -> Path:
    """The smallest language model there is, with a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "user", "assistant", "one", "two"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.add_special_tokens(words[:3])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=words[2], pad_token=words[2])
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        LlamaForCausalLM(shape).save_pretrained(folder)
    return folder
