"""Makes a tiny random Llama with a tokenizer of its own, so that tests need no download. No test itself."""

import os
from pathlib import Path

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "system user assistant: You are a helpful assistant. Answer the question in one sentence.",
    "What is the capital of France? The capital of France is Paris. It lies on the river Seine.",
    "Training a model means lowering a loss: every step moves the weights a little.",
    "def add(first, second):\n    return first + second\n\n\nprint(add(1, 2))\n",
    "0 1 2 3 4 5 6 7 8 9 10 100 1000, 3.14159; (a + b) * c = d / e",
    "微调模型需要数据、时间和耐心。你好,世界!今天天气很好。",
    "Ein Modell lernt aus Beispielen; je besser die Beispiele, desto besser das Modell.",
    "Les modèles apprennent à partir d'exemples choisis avec soin.",
    "Once upon a time there was a small model that wanted to learn how to answer questions.",
]


def make_tokenizer(vocab_from: list[str] = TEXTS, size: int = 1000):
    """A byte-level BPE tokenizer (`tokenizers.Tokenizer`) that can write any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(vocab_from, trainer)
    return tokenizer


def make_tokenizer_folder(
    folder: Path, *, template: str | None = CHATML, vocab_from: list[str] = TEXTS
) -> Path:
    """The tokenizer's files, as transformers writes them; needs no torch."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(vocab_from).save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def make_tiny_model(
    folder: Path,
    *,
    vocab_from: list[str] = TEXTS,
    hidden: int = 64,
    layers: int = 2,
    with_template: bool = True,
    seed: int = 0,
) -> Path:
    """A random `LlamaForCausalLM` in fp32 with its tokenizer; returns the folder."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer_folder(folder, template=CHATML if with_template else None, vocab_from=vocab_from)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=tokenizer.token_to_id("<|pad|>"),
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder
