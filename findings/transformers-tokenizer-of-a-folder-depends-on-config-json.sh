#!/usr/bin/env bash
# transformers 5.23.0, tokenizers as it brings them; no torch needed.
#
# `AutoTokenizer.from_pretrained(folder)` may give other ids for the very same tokenizer files when `config.json` stands
# beside them. Where `tokenizer_config.json` names no `tokenizer_class` (many published folders do not), the model's type
# chooses the class, and some classes build their own pre-tokenizer and normaliser instead of taking those of
# `tokenizer.json`. An adapter's folder, as peft and trainers write it, holds the tokenizer's files and no `config.json`:
# who loads the tokenizer from there asks the model with other ids than who loads it from the base. There is no warning.
#
# Seen: `tokenizer.json` with GPT-2's pre-tokenizer beside a `qwen3` configuration: "a 123" is cut digit by digit; without
# the configuration the digits stay together. For `gpt_neox` only decomposed Unicode tells them apart.
# What helps: keep what `AutoTokenizer` makes of the base (`backend_tokenizer.to_str()`) as the adapter's `tokenizer.json`,
# and compare ids before publishing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "transformers==5.23.0"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PY'
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

base, adapter = Path(sys.argv[1]) / "base", Path(sys.argv[1]) / "adapter"
made = Tokenizer(models.BPE())
made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
letters = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=letters)
made.train_from_iterator(["a 123 b 123 c 123 d 123"] * 20, trainer)
for folder in (base, adapter):
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
(base / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
found = [AutoTokenizer.from_pretrained(folder) for folder in (base, adapter)]
ids = [one("a 123")["input_ids"] for one in found]
print([type(one).__name__ for one in found], ids)
assert ids[0] != ids[1], "the behaviour has changed: both folders give the same ids"
PY
