#!/usr/bin/env bash
# peft 0.21.2, transformers 5.23.0, torch 2.13.0, on a CPU.
#
# transformers 5 holds the experts of a layer in one tensor, and peft maps the names of the files to it: `gate_proj`, `up_proj`
# and `down_proj` become `target_parameters` of the experts, and are taken out of `target_modules`. A model with a dense first
# layer or shared experts (DeepSeek-V3, GLM-4.5, dots.llm1, Ernie 4.5) has linear layers of these names beside its experts: they
# get no LoRA any more, named or by `all-linear`, without a word. And `qwen2_moe`, after which the mapping is called, is not in
# it: its experts get none at all.
#
# Seen: dots1, all-linear: 0 of 6 dense and shared layers have a LoRA; qwen2_moe, all-linear: 0 of 2 layers of experts.
# What helps: name the weights of those layers as `target_parameters` too (`mlp.shared_experts.gate_proj.weight`): the file's
# tensors have the same names as those of a LoRA on the layer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "peft==0.21.2" "transformers==5.23.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import warnings

from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

warnings.simplefilter("ignore")
SHAPE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2, "moe_intermediate_size": 16, "num_experts_per_tok": 2}


def tuned(kind: str, **more: int) -> set[str]:
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, **more))
    made = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    return {name.split(".lora_")[0] for name, weight in made.named_parameters() if weight.requires_grad}


def beside(name: str) -> bool:
    return ".mlp.experts" not in name and name.endswith(("gate_proj", "up_proj", "down_proj"))


found = tuned("dots1", n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1)
print("dots1, dense and shared layers with a LoRA:", sum(map(beside, found)), "of 6")
assert any(".mlp.experts" in name for name in found)
assert not any(map(beside, found)), "the behaviour has changed: layers beside experts have their LoRA"
found = tuned("qwen2_moe", num_experts=4, shared_expert_intermediate_size=16)
print("qwen2_moe, layers of experts with a LoRA:", sum(name.endswith(".mlp.experts") for name in found), "of 2")
assert not any(".mlp.experts" in name for name in found), "the behaviour has changed: its experts have a LoRA"
PY
