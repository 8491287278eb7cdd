#!/usr/bin/env bash
# peft 0.21.2, transformers 5.23.0, torch 2.13.0, on a CPU.
#
# `ensure_weight_tying=True` gives an embedding and the head that shares its weights one LoRA. It is one by memory alone: the
# head's matrices are parameters of their own, views of the embedding's. What makes a parameter anew parts the two for good,
# without a word: the starts `orthogonal` and `mica`, which bring their own matrices; a base in bf16, whose LoRA is made
# fp32; and a move, of format or device, after the adapter was made (`Module._apply` gives each parameter new memory). Then
# each end learns for itself. Both are saved, and neither the file nor `adapter_config.json` says that they differ. Who loads
# the adapter over a base in fp32 has one memory again, into which the head's are read last: the embedding's are lost. Only
# over bf16, or with the two starts, which part the ends again as it is loaded, does it compute what was trained.
#
# Seen, after three steps of AdamW:
#   as it comes: one memory; 0.000 apart; loaded over fp32: off by 0.000 of 10.7
#   orthogonal: two memories; 2.741 apart; loaded over fp32: off by 0.000 of 4.9
#   mica: two memories; 0.679 apart; loaded over fp32: off by 0.000 of 4.1
#   a base in bf16: two memories; 0.320 apart; loaded over fp32: off by 7.297 of 4.9
#   moved: two memories; 0.320 apart; loaded over fp32: off by 7.287 of 4.9
# What helps: give the head no parameters, but a weight that is the embedding's transposed each time it is read; or make and
# keep the adapter where it is trained (base in fp32, moved before `get_peft_model`), with another start, and compare both
# ends before saving.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "peft==0.21.2" "transformers==5.23.0" "numpy==2.4.6"
"$folder/venv/bin/python" - "$folder/adapter" <<'PY'
import sys
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
IDS = torch.arange(20)[None]


def base(kind: torch.dtype) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True)).to(kind)


def ends(of: PeftModel) -> tuple[torch.Tensor, torch.Tensor]:
    inner = of.base_model.model
    return inner.model.embed_tokens.lora_embedding_B["default"].t(), inner.lm_head.lora_A["default"].weight


def logits(of: PeftModel) -> torch.Tensor:
    with torch.no_grad():
        return of.eval()(input_ids=IDS).logits.float()


WAYS = {  # how LoRA begins, the base's format, whether the model is moved, and whether the loaded adapter is another one
    "as it comes": (True, torch.float32, False, False),
    "orthogonal": ("orthogonal", torch.float32, False, False),
    "mica": ("mica", torch.float32, False, False),
    "a base in bf16": (True, torch.bfloat16, False, True),
    "moved": (True, torch.float32, True, True),
}
for name, (start, kind, is_moved, is_lost) in WAYS.items():
    config = LoraConfig(r=4, target_modules=["lm_head"], ensure_weight_tying=True, init_lora_weights=start)
    model = get_peft_model(base(kind), config)
    if is_moved:
        model = model.double().float()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.1)
    for _ in range(3):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    one, two = ends(model)
    is_shared, apart = one.data_ptr() == two.data_ptr(), float((one - two).detach().abs().max())
    trained = logits(model)
    model.save_pretrained(sys.argv[1])
    off = float((logits(PeftModel.from_pretrained(base(torch.float32), sys.argv[1])) - trained).abs().max())
    print(f"{name}: {'one memory' if is_shared else 'two memories'}; {apart:.3f} apart; "
          f"loaded over fp32: off by {off:.3f} of {float(trained.abs().max()):.1f}")
    if name == "as it comes":
        assert is_shared and apart == 0, "the behaviour has changed: nothing ties the ends"
    else:
        assert not is_shared and apart > 0.1, f"the behaviour has changed: the ends stay one ({name})"
    assert (off > 1) == is_lost, f"the behaviour has changed: what is loaded ({name})"
PY
