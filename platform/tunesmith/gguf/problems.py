"""What cannot be said in a GGUF file, in words: which field of which file, and why."""

from tunesmith.errors import NotConvertible

USE_THE_LIBRARY = "Use the model with transformers, as answers and evaluations do."


def cannot(field: str, why: str, *, file: str, hint: str = USE_THE_LIBRARY) -> NotConvertible:
    """The error for something that has no place in a file, or that llama.cpp would compute otherwise.

    Args:
        field: What says it: a field's path, or a tensor's name.
        why: The rest of a sentence that begins with the field.
        file: Where that stands.
        hint: What to do.
    """
    return NotConvertible(f"No GGUF file is made: `{field}` in `{file}` {why}.", hint=hint, field=field)
