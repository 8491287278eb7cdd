"""Conversations as other tools write them, what each is read as, and what the form is called."""

import json
from typing import Any

from tunesmith.rows.chat.turns import Message

SYSTEM, ASK, THOUGHT, BEFORE, SAID, MORE, ANSWER = (
    "Sei höflich.", "Wie warm ist es?", "Ich sehe nach.", "Moment.", '{"grad": 3}', "Und morgen?", "Drei Grad.",
)  # fmt: skip
SCHEMA = {"type": "object", "properties": {"ort": {"type": "string"}}, "required": ["ort"]}
FUNCTION = {"name": "wetter", "description": "Das Wetter", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
ARGUMENTS = {"ort": "Xi'an"}


def call(call_id: str = "") -> str:
    made = {"type": "function", "function": {"name": "wetter", "arguments": ARGUMENTS}}
    return json.dumps([({"id": call_id} if call_id else {}) | made], ensure_ascii=False)


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


ANTHROPIC = {
    "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": THOUGHT, "signature": "x"},
            {"type": "text", "text": BEFORE},
            {"type": "tool_use", "id": "toolu_01", "name": "wetter", "input": ARGUMENTS}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_01", "content": [{"type": "text", "text": SAID}]},
            {"type": "text", "text": MORE}]},
        {"role": "assistant", "content": ANSWER},
    ],
    "tools": [{"name": "wetter", "description": "Das Wetter", "input_schema": SCHEMA}],
}  # fmt: skip
GEMINI = {
    "systemInstruction": {"role": "system", "parts": [{"text": SYSTEM}]},
    "contents": [
        {"role": "user", "parts": [{"text": ASK}]},
        {"role": "model", "parts": [
            {"text": THOUGHT, "thought": True},
            {"text": BEFORE},
            {"functionCall": {"name": "wetter", "args": ARGUMENTS}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "wetter", "response": {"grad": 3}}},
            {"text": MORE[:4]}, {"text": MORE[4:]}]},
        {"role": "model", "parts": [{"text": ANSWER}]},
    ],
    "tools": [{"functionDeclarations": [{
        "name": "wetter", "description": "Das Wetter",
        "parameters": {"type": "OBJECT", "properties": {"ort": {"type": "STRING"}}, "required": ["ort"]}}]}],
}  # fmt: skip
GEMINI_SNAKE = {
    "system_instruction": SYSTEM,
    "contents": [
        GEMINI["contents"][0],
        {"role": "model", "parts": [
            {"thought": True, "text": THOUGHT},
            {"text": BEFORE},
            {"function_call": {"name": "wetter", "args": ARGUMENTS}}]},
        {"role": "function", "parts": [{"function_response": {"name": "wetter", "response": {"grad": 3}}}]},
        {"role": "user", "parts": [{"text": MORE}]},
        {"role": "model", "parts": [{"text": ANSWER}]},
    ],
    "tools": {"function_declarations": [FUNCTION]},
}  # fmt: skip
BEDROCK = {
    "schemaVersion": None,
    "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {"role": "user", "content": [{"text": ASK}]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": "x"}}},
            {"text": BEFORE},
            {"toolUse": {"toolUseId": "toolu_01", "name": "wetter", "input": ARGUMENTS}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "toolu_01", "content": [{"json": {"grad": 3}}], "status": "success"}},
            {"text": MORE}]},
        {"role": "assistant", "content": [{"text": ANSWER}]},
    ],
    "toolConfig": {"tools": [{"toolSpec": {
        "name": "wetter", "description": "Das Wetter", "inputSchema": {"json": SCHEMA}}}]},
}  # fmt: skip
OFFER = "with access to the following functions. Use them if required -"
GLAIVE = {
    "system": f"SYSTEM: Sei höflich {OFFER}\n{json.dumps(FUNCTION, indent=4)}\n",
    "chat": f"USER: {ASK}\n\n\nASSISTANT: {BEFORE} <functioncall> "
    '{"name": "wetter", "arguments": \'{"ort": "Xi\'an"}\'} <|endoftext|>\n\n\n'
    f"FUNCTION RESPONSE: {SAID}\n\n\nASSISTANT: {ANSWER} <|endoftext|>\n\n\nUSER: {MORE}\n\n\n"
    f"ASSISTANT: 4.\nUm drei: 5. <|endoftext|>\n\n\n",
}
GLAIVE_PLAIN = {
    "sample": f"SYSTEM: {SYSTEM}\n\nUSER: {ASK}\n\nASSISTANT: <functioncall> "
    '{"name": "wetter", "arguments": {"ort": "Xi\'an"}}\n\nFUNCTION RESPONSE: ok\n\nASSISTANT: Gut.'
}
SIMPLE = [Message("user", ASK), Message("assistant", ANSWER)]
TURNS = [{"from": "human", "value": ASK}, {"from": "gpt", "value": ANSWER}]
CALLED = [
    Message("system", SYSTEM),
    Message("user", ASK),
    Message("assistant", BEFORE, 1, THOUGHT, call()),
    Message("tool", SAID, name="wetter"),
    Message("user", MORE),
    Message("assistant", ANSWER),
]
WITH_IDS = [
    *CALLED[:2],
    CALLED[2]._replace(calls=call("toolu_01")),
    Message("tool", SAID, call_id="toolu_01"),
    *CALLED[4:],
]
FORMS: dict[str, tuple[str, dict[str, Any], list[Message], bool]] = {
    "anthropic": ("Anthropic messages", ANTHROPIC, WITH_IDS, True),
    "anthropic, system text": ("Anthropic messages", ANTHROPIC | {"system": SYSTEM}, WITH_IDS, True),
    "bedrock": ("Bedrock messages", BEDROCK, WITH_IDS, True),
    "bedrock, tools as text": (
        "Bedrock messages", BEDROCK | {"toolConfig": text(BEDROCK["toolConfig"])}, WITH_IDS, True,
    ),
    "gemini": ("Gemini contents", GEMINI, CALLED, True),
    "gemini, snake case": ("Gemini contents", GEMINI_SNAKE, CALLED, True),
    "gemini as text": ("Gemini contents", {key: text(value) for key, value in GEMINI.items()}, CALLED, True),
    "glaive": (
        "Glaive function calling",
        GLAIVE,
        [
            CALLED[0]._replace(content="Sei höflich."),
            *[message._replace(reasoning="", name="") for message in CALLED[1:4]],
            Message("assistant", ANSWER),
            Message("user", MORE),
            Message("assistant", "4.\nUm drei: 5."),
        ],
        True,
    ),
    "glaive, one column": (
        "Glaive function calling",
        GLAIVE_PLAIN,
        [*CALLED[:2], Message("assistant", "", calls=call()), Message("tool", "ok"), Message("assistant", "Gut.")],
        False,
    ),
    "items": ("ShareGPT", {"id": "1", "items": TURNS}, SIMPLE, False),
    "items as text": ("ShareGPT", {"id": "1", "items": text(TURNS)}, SIMPLE, False),
    "items, system and tools": (
        "ShareGPT",
        {"items": TURNS, "system": SYSTEM, "tools": text(TOOLS)},
        [CALLED[0], *SIMPLE],
        True,
    ),
    "dialogue": (
        "OpenAI messages",
        {"dialogue": [{"role": "user", "content": ASK}, {"role": "assistant", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "text in messages": (
        "OpenAI messages",
        {"messages": [{"role": "user", "text": ASK}, {"role": "assistant", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "text in conversations": (
        "ShareGPT",
        {"conversations": [{"from": "human", "text": ASK}, {"from": "gpt", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "value in messages": (
        "OpenAI messages",
        {"messages": [{"role": "user", "value": ASK}, {"role": "assistant", "value": ANSWER}]},
        SIMPLE,
        False,
    ),
    "rounds": ("rounds of question and answer", {"conversation": [{"human": ASK, "assistant": ANSWER}]}, SIMPLE, False),
    "rounds under another name": (
        "rounds of question and answer", {"turns": [{"user": ASK, "assistant": ANSWER}]}, SIMPLE, False,
    ),
    "rounds, each with the system text": (
        "rounds of question and answer",
        {"conversation": [
            {"system": SYSTEM, "input": ASK, "output": ANSWER},
            {"system": SYSTEM, "input": MORE, "output": "4."}]},
        [CALLED[0], *SIMPLE, Message("user", MORE), Message("assistant", "4.")],
        False,
    ),
    "rounds, another system text": (
        "rounds of question and answer",
        {"conversation": [{"input": ASK, "output": ANSWER}, {"system": SYSTEM, "input": MORE, "output": "4."}]},
        [*SIMPLE, CALLED[0], Message("user", MORE), Message("assistant", "4.")],
        False,
    ),
    "lima": ("questions and answers in turn", {"conversations": [ASK, ANSWER]}, SIMPLE, False),
    "dailydialog": ("UltraChat", {"dialog": [ASK, ANSWER]}, SIMPLE, False),
    "palm": (
        "PaLM messages",
        {"messages": [{"author": "user", "content": ASK}, {"author": "bot", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "speakers": (
        "turns with a speaker",
        {"dialogue": [{"speaker": "Customer", "utterance": ASK}, {"speaker": "Agent", "utterance": ANSWER}]},
        SIMPLE,
        False,
    ),
    "cohere's api": (
        "OpenAI messages",
        {"messages": [{"role": "User", "message": ASK}, {"role": "Chatbot", "message": ANSWER}]},
        SIMPLE,
        False,
    ),
    "oasst": (
        "OpenAI messages",
        {"messages": [{"role": "prompter", "text": ASK}, {"role": "assistant", "text": ANSWER}]},
        SIMPLE,
        False,
    ),
    "cohere": (
        "OpenAI messages",
        {"messages": [{"role": "User", "content": ASK}, {"role": "Chatbot", "content": ANSWER}]},
        SIMPLE,
        False,
    ),
    "ultrachat": ("UltraChat", {"id": "0", "data": [ASK, ANSWER]}, SIMPLE, False),
    "ultrachat, system": ("UltraChat", {"system": SYSTEM, "data": [ASK, ANSWER, MORE]},
                          [CALLED[0], *SIMPLE, Message("user", MORE)], False),
}  # fmt: skip
