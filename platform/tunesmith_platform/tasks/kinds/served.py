"""A model that was found, as whoever serves it is told of it: which weights, and all that loads them.

Knows found models and folders; knows nothing of names and of questions.
"""

from tunesmith.chat.wire import ServedModel
from tunesmith.errors import InvalidModel
from tunesmith.spec.base import Spec
from tunesmith.spec.chat import ChatSpec
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel


def served(found: FoundModel, weights: str, name: str, spec: ChatSpec | None = None) -> ServedModel:
    """A found model as a question names it.

    Args:
        found: The model.
        weights: What tells it from all others.
        name: What its caller called it.
        spec: Parameters that are given, instead of those that it was trained with.

    Raises:
        InvalidModel: It sorts texts into classes.
        InvalidInput: What is given contradicts how it was trained.
    """
    base, is_adapter = str(found.base or found.uri), found.base is not None
    asked: Spec = spec or ChatSpec(model_name_or_path=base)
    assert isinstance(asked, ChatSpec)
    training = asked.as_training(
        found.trained, base=base, adapter=found.uri if is_adapter else None, data="-"
    )
    if training.training_type == "classification":
        raise InvalidModel(
            f"`{name}` sorts texts into classes: it gives no answers.",
            hint="Evaluate it: `tunesmith evaluate`.",
            field="model",
        )
    return ServedModel(
        name=name,
        weights=weights,
        model_uri=found.uri,
        base_path=base,
        is_adapter=is_adapter,
        training=training.model_dump(mode="json"),
        encoder_path=str(found.encoder),
        tokenizer_path=str(found.tokenizer) if found.tokenizer else None,
    )
