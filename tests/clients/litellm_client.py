"""LiteLLM asks as its users do: `python litellm_client.py URL KEY` prints what came of it as JSON. No test itself."""

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it looks for prices elsewhere else

import litellm
from pydantic import BaseModel


class Town(BaseModel):
    """A town."""

    name: str
    people: int


url, key = sys.argv[1:3]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(words: str | list[Any], **more: Any) -> Any:
    messages = [{"role": "user", "content": words}] if isinstance(words, str) else words
    return litellm.completion(
        model="openai/smol", api_base=url, api_key=key, messages=messages, max_retries=0, **more
    )


def calls(message: Any) -> list[Any]:
    return [[call.function.name, json.loads(call.function.arguments)] for call in message.tool_calls]


chunks = list(ask("Say hello.", stream=True, stream_options={"include_usage": True}))
usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
asked = ask("How is the weather?", tools=[TOOL]).choices[0].message
told = litellm.stream_chunk_builder(list(ask("How is the weather?", tools=[TOOL], stream=True)))
history = [
    {"role": "user", "content": "How is the weather?"},
    asked.model_dump(),
    {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "Rain in Paris."},
]
answered = ask(history, tools=[TOOL])
held = ask("Name a town.", response_format=Town).choices[0].message.content
print(
    json.dumps(
        {
            "text": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "usage": [sum(one.prompt_tokens for one in usage), sum(one.completion_tokens for one in usage)],
            "called": calls(asked),
            "called_in_a_stream": calls(told.choices[0].message),
            "after_the_call": answered.choices[0].message.content,
            "held": json.loads(held),
        }
    )
)
