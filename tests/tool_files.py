"""Files of LLaMA-Factory and Axolotl, and how they are given to the command."""

from pathlib import Path
from typing import Any

import yaml

from tunesmith.cli.given import GivenTraining, given_training

LLAMA_FACTORY: dict[str, Any] = {
    "model_name_or_path": "org/model",
    "trust_remote_code": True,
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 12,
    "lora_target": "q_proj,v_proj",
    "dataset": "/data/a.json",
    "template": "qwen3_nothink",
    "cutoff_len": 1024,
    "overwrite_cache": True,
    "preprocessing_num_workers": 16,
    "output_dir": "saves/one/lora",
    "plot_loss": True,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "learning_rate": "1.0e-4",
    "num_train_epochs": 4.0,
    "lr_scheduler_type": "cosine",
    "bf16": True,
    "ddp_timeout": 180000000,
    "resume_from_checkpoint": None,
}
AXOLOTL: dict[str, Any] = {
    "base_model": "org/model",
    "model_type": "AutoModelForCausalLM",
    "tokenizer_type": "AutoTokenizer",
    "load_in_8bit": False,
    "load_in_4bit": True,
    "datasets": [{"path": "/data/a.jsonl", "type": "alpaca"}],
    "dataset_prepared_path": None,
    "val_set_size": 0.05,
    "output_dir": "./outputs/out",
    "adapter": "qlora",
    "sequence_len": 2048,
    "sample_packing": True,
    "lora_r": 32,
    "lora_alpha": 16,
    "lora_target_linear": True,
    "gradient_accumulation_steps": 4,
    "micro_batch_size": 2,
    "num_epochs": 3,
    "optimizer": "paged_adamw_32bit",
    "lr_scheduler": "cosine",
    "learning_rate": 0.0002,
    "bf16": "auto",
    "tf32": False,
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
    "evals_per_epoch": 4,
    "saves_per_epoch": 1,
    "special_tokens": {"pad_token": "<|end_of_text|>"},
}


def given(tmp_path: Path, document: dict[str, Any], **flags: Any) -> GivenTraining:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(document))
    return given_training(file, None, flags)
