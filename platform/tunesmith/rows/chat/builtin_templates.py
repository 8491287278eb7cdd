"""Chat templates that a user may choose by name, for a model that has none of its own or has the wrong one.

Each says which tokens it writes: a tokenizer without them would spell a turn's end out of ordinary letters, and the
model would not learn to stop. Knows Jinja text only.
"""

from typing import NamedTuple


class BuiltIn(NamedTuple):
    """A template and the control tokens that a tokenizer must know for it."""

    source: str
    tokens: tuple[str, ...]


_CHATML_TURNS = (
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Mistral and Gemma have no system turn of their own: it stands before the first question.
_SYSTEM_FIRST = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] + '\\n\\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
)

BUILT_IN: dict[str, BuiltIn] = {
    "chatml": BuiltIn("{% for m in messages %}" + _CHATML_TURNS, ("<|im_start|>", "<|im_end|>")),
    "qwen": BuiltIn(
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS,
        ("<|im_start|>", "<|im_end|>"),
    ),
    "llama3": BuiltIn(
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "mistral": BuiltIn(
        _SYSTEM_FIRST + "{{ bos_token }}{% for m in turns %}{% if m['role'] == 'assistant' %}"
        "{{ ' ' + m['content'] + eos_token }}{% else %}"
        "{{ '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}",
        (),
    ),
    "gemma": BuiltIn(
        _SYSTEM_FIRST + "{{ bos_token }}{% for m in turns %}"
        "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\\n' }}"
        "{{ (system if loop.first else '') + m['content'] + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
}
"""By name. `mistral` needs no token besides the tokenizer's own end of text."""
