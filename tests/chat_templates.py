"""Chat templates of the kinds that models ship, for tests. No test itself."""

# ruff: noqa: E501

CHATML_DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_GENERATION = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' %}
        {% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Drops the thinking of every answer but the last, and writes an empty thought where the last has none (Qwen3's way).
THINKING = """\
{%- for message in messages %}
    {%- set content = message.content %}
    {%- set thought = '' %}
    {%- if message.role == 'assistant' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.last %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
# The generation prompt opens a thought that the history does not show (the DeepSeek-R1 distillations' way).
OPENED_THOUGHT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# Another end mark for the last answer than for earlier ones (gpt-oss's way).
OTHER_LAST_MARK = (
    "{% for m in messages %}{{ '<|start|>' + m.role }}{% if m.role == 'assistant' %}{{ '<|channel|>final' }}{% endif %}"
    "{{ '<|message|>' + m.content }}{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
# Plain words for headers, and an end mark only at the very end.
ALPACA = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + m.content + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% elif messages[-1].role == 'assistant' %}{{ eos_token }}{% endif %}"
)
# No end mark at all: the next header is what stops the model (GLM's way).
NO_END_MARK = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# The header ends with a space, which the tokenizer joins to the answer's first word.
SPACED_HEADER = (
    "{% for m in messages %}{{ ('Bot: ' if m.role == 'assistant' else 'You: ') + m.content + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Bot: ' }}{% endif %}"
)
# An end mark after the last answer only, and headers that are control tokens themselves.
MARK_AT_THE_END = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if not loop.last %}{{ '\n' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>' }}{% endif %}"
)
# The last message first.
REVERSED = "{% for m in messages | reverse %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endfor %}"
EXTRA_TOKENS = [
    "<s>", "</s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>",
    "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|user|>", "<|assistant|>", "<|system|>",
    "<|observation|>", "<|call|>", "<|sep|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
]  # fmt: skip
# With tools: one of each kind that models ship, written for these tests.
TOOLS_OF_WORDS = """\
{%- if tools %}{{- '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{% endif %}{{- '<tools>' }}{% for tool in tools %}{{- '\\n' + (tool | tojson) }}{% endfor %}{{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant' }}{% if m.content %}{{- '\\n' + m.content }}{% endif %}{% for c in m.tool_calls or [] %}{% if c.function %}{% set c = c.function %}{% endif %}{{- '\\n<tool_call>\\n{"name": "' + c.name + '", "arguments": ' + (c.arguments | tojson) + '}\\n</tool_call>' }}{% endfor %}{{- '<|im_end|>\\n' }}
{%- elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
{%- endif %}{% endfor %}{% if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
# One call an answer, as bare JSON; tools stand in the first question.
TOOLS_IN_THE_QUESTION = """\
{{- bos_token }}{% for m in messages %}
{%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{- raise_exception('one call at a time') }}{% endif %}{% set c = m.tool_calls[0].function %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + c.name + '", "parameters": ' + (c.arguments | tojson) + '}<|eot_id|>' }}
{%- elif m.role == 'tool' %}{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + (m.content | tojson) + '<|eot_id|>' }}
{%- else %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}{% if tools and m.role == 'user' and loop.first %}{% for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\\n\\n' }}{% endfor %}{% endif %}{{- m.content | trim + '<|eot_id|>' }}
{%- endif %}{% endfor %}{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
# Arguments are text; an answer whose text is not null is written after its calls, though it be empty.
TOOLS_OF_TEXT = """\
{{- bos_token }}{% for tool in tools or [] %}{{- tool | tojson }}{% endfor %}{% for m in messages %}
{%- if m['role'] == 'user' %}{{- '<|user|>' + m['content'] }}{% endif %}
{%- if m['role'] == 'assistant' and m['tool_calls'] %}{{- '<|assistant|>' }}{% for c in m['tool_calls'] %}{{- '<|call|>' + c['type'] + '<|sep|>' + c['function']['name'] + '\\n```json\\n' + c['function']['arguments'] + '\\n```' }}{% endfor %}{{- '<|end|>' }}{% endif %}
{%- if m['role'] == 'assistant' and m['content'] is not none %}{{- '<|assistant|>' + m['content'].split('</think>')[-1] + '<|end|>' }}{% endif %}
{%- if m['role'] == 'tool' %}{{- '<|observation|>' + m['content'] }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{- '<|assistant|><think>\\n' }}{% endif %}"""
# Tools stand before the last question, so that history is written anew each round; no prompt opens an answer.
TOOLS_AT_THE_LAST_QUESTION = """\
{%- set asked = messages | selectattr('role', 'equalto', 'user') | list %}{{- bos_token }}{% for m in messages %}
{%- if m['role'] == 'user' %}{% if tools and m == asked[-1] %}{{- '[AVAILABLE_TOOLS] ' }}{% for tool in tools %}{{- tool | tojson }}{% endfor %}{{- '[/AVAILABLE_TOOLS]' }}{% endif %}{{- '[INST] ' + m['content'] + '[/INST]' }}
{%- elif m.tool_calls %}{{- '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}{{- c.function | tojson }}{% if not loop.last %}{{- ', ' }}{% endif %}{% endfor %}{{- ']' + eos_token }}
{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] + eos_token }}
{%- elif m['role'] == 'tool' %}{{- '[TOOL_RESULTS] {"content": ' + (m.content | tojson) + '}[/TOOL_RESULTS]' }}
{%- endif %}{% endfor %}"""
# Calls are written key by key; reasoning stands in a key of its own and is kept for the last answer alone.
TOOLS_BY_KEY = """\
{%- set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for tool in tools or [] %}{{- '<|system|>' + (tool | tojson) }}{% endfor %}{% for m in messages %}
{%- if m.role == 'assistant' %}{{- '<|assistant|>\\n' }}{% if loop.index0 > ns.last and m.reasoning_content %}{{- '<think>' + m.reasoning_content + '</think>\\n' }}{% endif %}{{- m.content or '' }}{% for c in m.tool_calls or [] %}{{- '<tool_call>' + c.function.name }}{% for k, v in c.function.arguments.items() %}{{- '\\n<arg_key>' + k + '</arg_key>\\n<arg_value>' + (v if v is string else v | tojson) + '</arg_value>' }}{% endfor %}{{- '</tool_call>' }}{% endfor %}
{%- elif m.role == 'tool' %}{{- '<|observation|>\\n' + m.content }}
{%- else %}{{- '<|' + m.role + '|>\\n' + m.content }}
{%- endif %}{% endfor %}{% if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}"""
