#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0.
#
# What a file is called (`general.name`, which converters take from a folder's name) decides how llama.cpp reads texts: where
# the name has `phi-3` or `phi3` in it, every mark of the vocabulary takes the spaces behind it away, and a vocabulary that
# lacks one of `</s>`, `<unk>`, `<s>` and `<|endoftext|>` is not loaded: "error loading model vocabulary: _Map_base::at".
# A model of any other family in a folder `my-phi3-tune` makes such a file.
#
# Seen: the same file is loaded as `my-tune` and not as `my-phi3-tune`.
# What helps: another name in the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xllamacpp==2026.10.11549" "gguf==0.19.0" "numpy==2.4.6"
cat > "$folder/one.py" <<'PY'
import sys

import gguf
import numpy as np
import xllamacpp

file, name, size, inner = sys.argv[1], sys.argv[2], 32, 64
words = ["<|endoftext|>", "<|im_end|>", *map(chr, range(33, 127))]
writer = gguf.GGUFWriter(file, "qwen2")
writer.add_name(name)
writer.add_context_length(64)
writer.add_embedding_length(size)
writer.add_block_count(1)
writer.add_feed_forward_length(inner)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list(words)
writer.add_token_types([3, 3, *[1] * (len(words) - 2)])
writer.add_token_merges(["a b"])
writer.add_eos_token_id(0)
writer.add_bos_token_id(0)
shapes = {"token_embd.weight": (len(words), size), "output_norm.weight": (size,), "blk.0.attn_norm.weight": (size,)}
shapes |= {f"blk.0.attn_{name}.weight": (size, size) for name in ("q", "k", "v", "output")}
shapes |= {f"blk.0.attn_{name}.bias": (size,) for name in ("q", "k", "v")}
shapes |= {"blk.0.ffn_norm.weight": (size,), "blk.0.ffn_gate.weight": (inner, size), "blk.0.ffn_up.weight": (inner, size)}
shapes |= {"blk.0.ffn_down.weight": (size, inner)}
for tensor, shape in shapes.items():
    writer.add_tensor(tensor, np.full(shape, 0.01, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.port = file, 64, False, 0
xllamacpp.Server(params)
print(f"{name}: loaded")
PY
"$folder/venv/bin/python" "$folder/one.py" "$folder/a.gguf" my-tune 2>/dev/null
if "$folder/venv/bin/python" "$folder/one.py" "$folder/b.gguf" my-phi3-tune >"$folder/said" 2>&1; then
  echo "the behaviour has changed: a name keeps no file from loading"
  exit 1
fi
grep -m1 "error loading model vocabulary" "$folder/said"
echo "my-phi3-tune: not loaded"
