"""What a spec and a data file decide together: which encoder reads the file.

The control plane refuses with it, the job trains with it. Knows which encoder a training type takes; knows nothing of
how one works.
"""

from pathlib import Path

from tunesmith.rows.shapes import Shape
from tunesmith.rows.tokens.encoding import Encoder
from tunesmith.rows.tokens.texts import TextEncoder
from tunesmith.spec.training import TrainSpec


def encoder_of(
    spec: TrainSpec, shape: Shape, model: str | Path, tokenizer: str | Path | None = None
) -> Encoder | TextEncoder:
    """The encoder of a file of some shape.

    Args:
        spec: The parameters.
        shape: What the file's rows hold.
        model: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead of the model's.

    Raises:
        InvalidModel: The tokenizer is missing or broken, or conversations meet a model without a chat template.
        InvalidInput: The chosen chat template is unknown, or does not fit the tokenizer.
    """
    if shape.is_chat:
        return Encoder.from_folder(
            model,
            spec.max_length,
            tokenizer=tokenizer,
            chat_template=spec.chat_template,
            whole=not spec.assistant_only_loss,
        )
    # Pre-training cuts the stream of documents into blocks; no document is cut off.
    max_length = None if spec.training_type == "pretrain" else spec.max_length
    return TextEncoder.from_folder(
        model, max_length, tokenizer=tokenizer, classify=spec.training_type == "classification"
    )
