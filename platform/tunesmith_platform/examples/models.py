"""Base models."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.model_folder import LinearLayers, ModelFacts
from tunesmith.model_views import ModelState, ModelUse, ModelView
from tunesmith_platform.examples.common import TASK_ID, TIME
from tunesmith_platform.examples.tasks import TASK

_MODEL_FACTS = ModelFacts(
    path="/data/models/SmolLM2-135M-Instruct",
    architecture="LlamaForCausalLM",
    model_type="llama",
    parameters=134_515_008,
    dtype="bfloat16",
    context_length=8192,
    vocab_size=49_152,
    linear_modules=("q_proj", "v_proj"),
    linear_layers=(
        LinearLayers(name="q_proj", shape=(576, 576), count=30),
        LinearLayers(name="v_proj", shape=(192, 576), count=30),
    ),
    is_head_tied=True,
    tokenizer="BPE",
    has_chat_template=True,
    license="apache-2.0",
    bytes=269_060_552,
    weight_files=("model.safetensors",),
)
MODEL = ModelView(
    id="model-01k9xq7c2m5d8e4f9g",
    name="SmolLM2-135M-Instruct",
    state=ModelState.READY,
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    path=_MODEL_FACTS.path,
    is_found=True,
    facts=_MODEL_FACTS,
    sha256="5af5" * 16,
    disk_bytes=271_158_272,
    license_text="Apache License, Version 2.0",
    task_count=1,
    tasks=[ModelUse(id=TASK_ID, name=TASK.name, state=TASK.state)],
    created_at=TIME,
    checked_at=TIME,
)
MODELS = views.Page[ModelView](data=[MODEL], has_more=False)


def new_model_body() -> Any:
    """The body of a registration."""
    return Body(
        openapi_examples={
            "folder": {"summary": "A folder", "value": {"source": "/data/my-model", "name": "mine"}},
            "pulled": {
                "summary": "A pulled model",
                "value": {"source": "HuggingFaceTB/SmolLM2-135M-Instruct"},
            },
        }
    )


def model_change_body() -> Any:
    """The body of a model's change."""
    return Body(openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "smol"}}})
