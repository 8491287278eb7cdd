"""The tokenizer of a model's folder, and how many tokens its model knows. Knows files; knows nothing of rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.json_file import read_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The fast tokenizer of a model folder.

    Raises:
        InvalidModel: `tokenizer.json` is missing or broken.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare `Exception`
        state = "is broken" if file.is_file() else "does not exist"
        raise InvalidModel(
            f"`{file}` {state}" + (f": {error}." if file.is_file() else "."),
            hint="Write it with `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` of transformers.",
            field=file.name,
        ) from error


def without_added_tokens(tokenizer: Any) -> Any:
    """A tokenizer that reads every text as plain text."""
    from tokenizers import Tokenizer

    parts = json.loads(tokenizer.to_str())
    parts["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(parts))


def vocab_size(folder: Path) -> int | None:
    """Rows of a model folder's embedding, where its config says so."""
    file = folder / "config.json"
    config = read_object(file) if file.is_file() else {}
    text = config.get("text_config")  # a model that also sees keeps its language part there
    size = config.get("vocab_size", text.get("vocab_size") if isinstance(text, dict) else None)
    return size if isinstance(size, int) else None


def check_ids(ids: Sequence[int], size: int | None) -> None:
    """Whether a model with so many tokens can take these ids.

    Raises:
        RowProblem: One is beyond them.
    """
    if size is not None and ids and max(ids) >= size:
        raise RowProblem(
            f"The tokenizer gives token {max(ids)}, but the model has only {size} tokens.",
            "Use the tokenizer that belongs to the model.",
        )
