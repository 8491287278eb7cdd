"""Templates."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.templates import TemplateView
from tunesmith_platform.examples.common import TASK_ID, TIME

TEMPLATE = TemplateView(
    name="short answers",
    description="Small LoRA for short answers.",
    parameters={"learning_rate": 5e-4, "r": 8},
    created_at=TIME,
    updated_at=TIME,
)
TEMPLATES = views.Page[TemplateView](data=[TEMPLATE], has_more=False)


def new_template_body() -> Any:
    """The body of a new template."""
    return Body(
        openapi_examples={
            "parameters": {
                "summary": "From parameters",
                "value": {"name": "short answers", "parameters": {"learning_rate": 5e-4, "r": 8}},
            },
            "task": {"summary": "From a task", "value": {"name": "ember's", "from_task": TASK_ID}},
        }
    )


def template_change_body() -> Any:
    """The body of a change of a template."""
    return Body(openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "brief answers"}}})
