"""Chat templates that a user may choose by name, for a model that has none of its own or has the wrong one.

Each says which tokens it writes: a tokenizer without them would spell a turn's end out of ordinary letters, and the
model would not learn to stop. Knows Jinja text only.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple


class BuiltIn(NamedTuple):
    """A template and the control tokens that a tokenizer must know for it."""

    source: str
    tokens: tuple[str, ...]


# Tools are told in the system turn, calls and what they answered stand between marks of words: the way of Hermes and
# Qwen, which needs no token of its own.
_TOOLS = (
    "{{ '# Tools\\n\\nCall one or more of these functions where they help. Their signatures stand within "
    "<tools></tools>:\\n<tools>' }}{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}"
    "{{ '\\n</tools>\\n\\nWrite each call as JSON within <tool_call></tool_call>:\\n<tool_call>\\n"
    '{"name": "function", "arguments": {...}}\\n</tool_call>\' }}'
)
_CHATML_TURNS = (
    "{% if m['role'] == 'tool' %}"
    "{% if loop.first or loop.previtem['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\\n<tool_response>\\n' + m['content'] + '\\n</tool_response>' }}"
    "{% if loop.last or loop.nextitem['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] }}"
    "{% if tools and loop.first and m['role'] == 'system' %}{{ '\\n\\n' }}" + _TOOLS + "{% endif %}"
    "{% for call in m['tool_calls'] or [] %}{% if m['content'] or not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<tool_call>\\n' }}"
    "{{ '{\"name\": ' }}{{ call['function']['name'] | tojson }}{{ ', \"arguments\": ' }}"
    "{{ call['function']['arguments'] | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TOOLS_FIRST = (
    "{% if tools and loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\\n' }}"
    + _TOOLS
    + "{{ '<|im_end|>\\n' }}{% endif %}"
)
# Mistral and Gemma have no system turn of their own: it stands before the first question.
_SYSTEM_FIRST = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] + '\\n\\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
)

BUILT_IN: dict[str, BuiltIn] = {
    "chatml": BuiltIn(
        "{% for m in messages %}" + _TOOLS_FIRST + _CHATML_TURNS, ("<|im_start|>", "<|im_end|>")
    ),
    "qwen": BuiltIn(
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.' }}"
        "{% if tools %}{{ '\\n\\n' }}"
        + _TOOLS
        + "{% endif %}{{ '<|im_end|>\\n' }}{% endif %}"
        + _CHATML_TURNS,
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


def taking_tools(knows: Callable[[str], bool]) -> Iterator[str]:
    """The built-in templates that write tools, for a tokenizer that knows their tokens.

    Args:
        knows: Whether the tokenizer has a text as a token of its own.
    """
    return (
        name for name, made in BUILT_IN.items() if "tools" in made.source and all(map(knows, made.tokens))
    )
