"""The tokenizer of a folder as transformers makes it, whose ids are what a model is trained on and asked with.

A folder says in several files how text becomes ids, and for some types of models the library takes little from
`tokenizer.json` and builds the rest itself. So a run asks the library once, and where its tokenizer is another one,
takes that: written down as a folder of its own, which lies beside the trained weights in the end. Knows transformers'
tokenizers and the files of ours; knows nothing of rows.

`python -m tunesmith_jobs.models.library_tokenizer FOLDER` says as JSON what was found of a model's folder.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidModel, TunesmithError
from tunesmith.events import Warned
from tunesmith.model_folder import TOKENIZER_FILES, is_plain_file
from tunesmith.rows.chat.template import TEMPLATE_FILE, TOKENIZER_CONFIG, find_special_tokens, find_template
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.same_ids import Difference, first_difference
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer, vocab_size
from tunesmith_jobs.models.reading import read_tokenizer, stay_offline

_FILE, _LIBRARY = "`tokenizer.json`", "transformers"
_CURE = (
    "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` of transformers writes the folder's files as it "
    "reads them."
)
_COPY = "Copy the tokenizer's files from the original model folder, or name another folder as `tokenizer_name_or_path`."
_PLAIN = "PreTrainedTokenizerFast"
"""The class whose tokenizer is `tokenizer.json` itself, by the name that every release of the library knows."""
_NAMED = ("bos_token", "eos_token")


class LibraryTokenizer(NamedTuple):
    """What the library makes of a folder."""

    folder: Path | None
    """Where the tokenizer was written down, to be used instead; None where the folder's own files say the same."""
    difference: Difference | None = None
    """The first place at which the folder's `tokenizer.json` gives other ids."""
    template_differs: bool = False
    """Whether the library takes another chat template than the folder's files say."""

    @property
    def words(self) -> str:
        """What differs, in words; empty where nothing does."""
        found = []
        if self.difference is not None:
            found.append(
                f"transformers makes other ids of this folder than its `tokenizer.json` says. First: "
                f"{self.difference.words(_FILE, _LIBRARY)}."
            )
        if self.template_differs:
            found.append(
                "transformers takes another chat template than the one that stands first in the folder."
            )
        return " ".join(found)

    def warning(self) -> Warned | None:
        """What a user should know before a run; None where there is nothing."""
        if not self.words:
            return None
        return Warned(
            code="tokenizer_rebuilt",
            message=f"{self.words} The run takes what transformers makes, and so does who loads the result.",
            hint=f"{_CURE} Then preview and estimate show the same ids.",
        )


def library_tokenizer(
    model: Path, tokenizer: Path | None, scratch: Path, *, is_adapter: bool = False
) -> LibraryTokenizer:
    """Ask the library for a folder's tokenizer.

    Args:
        model: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        scratch: Where a tokenizer is written down, in a folder of its own.
        is_adapter: Whether the result is an adapter, in whose folder nothing says the type of its base.

    Raises:
        InvalidModel: The library cannot load it, or its ids cannot be kept in files.
    """
    source = tokenizer or model
    file = load_tokenizer(source)
    try:
        made = read_tokenizer(source, _config_of(source))
        found = first_difference(_encode(file), _encode_with(made), _marks(made, file))
    except InvalidModel:
        raise
    except (
        Exception
    ) as error:  # whatever the class of the tokenizer raises, some when they meet the first text
        raise InvalidModel(
            f"transformers cannot use the tokenizer of `{source}`: {error}",
            hint=_COPY,
            field=TOKENIZER_CONFIG,
        ) from error
    backend = getattr(made, "backend_tokenizer", None)
    if backend is None:
        if found is not None:
            raise _cannot(source, f"its tokenizer is a program, `{type(made).__name__}`", found)
        return LibraryTokenizer(None)
    template = made.chat_template if isinstance(made.chat_template, str) else None
    template_differs = template is not None and template != find_template(source)
    names = _names(made, source, vocab_size(model))
    is_same = found is None and _decides(backend) == _decides(file)
    of_target = {} if is_adapter else _config_of(model, named=False)
    is_kept = of_target == _config_of(source) or _gives(source, of_target, made)
    if is_kept and is_same and not template_differs and not names:
        return LibraryTokenizer(None)
    target = scratch / "tokenizer"
    # A folder that was written before an attempt was cut off says the same; it is written anew.
    target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if is_plain_file(source / name):
            shutil.copyfile(source / name, target / name)
    if not is_same:
        (target / "tokenizer.json").write_text(_without_batches(backend).to_str(), encoding="utf-8")
    if template_differs and template is not None:
        (target / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    for change in ({}, {"tokenizer_class": _PLAIN}):
        _change(target / TOKENIZER_CONFIG, names | change)
        if _gives(target, of_target, made):
            return LibraryTokenizer(target, found, template_differs)
    raise _cannot(source, "what it makes of the folder cannot be kept in files", found)


def made_of(folder: Path) -> Any:
    """The library's tokenizer of a folder, of which `library_tokenizer` has said that it is the one that is used.

    Raises:
        InvalidModel: The folder names what is no tokenizer's class.
    """
    return read_tokenizer(folder, _config_of(folder))


def _config_of(folder: Path, *, named: bool = True) -> dict[str, str]:
    """What of a folder's `config.json` decides the tokenizer's class.

    Args:
        folder: The folder.
        named: Whether a class that is named there counts: a trained model's own configuration names none.
    """
    file = folder / "config.json"
    config = read_object(file) if is_plain_file(file) else {}
    keys = ("model_type", "tokenizer_class") if named else ("model_type",)
    return {key: value for key in keys if isinstance(value := config.get(key), str)}


def _gives(folder: Path, config: Mapping[str, str], made: Any) -> bool:
    """Whether the library makes the same of another folder."""
    try:
        again = read_tokenizer(folder, config)
    except Exception:  # then it does not
        return False
    backend = getattr(again, "backend_tokenizer", None)
    return (
        backend is not None
        and _decides(backend) == _decides(made.backend_tokenizer)
        and again.chat_template == made.chat_template
        and all(getattr(again, name) == getattr(made, name) for name in _NAMED)
        and first_difference(_encode_with(made), _encode_with(again), _marks(made, backend)) is None
    )


def _names(made: Any, source: Path, size: int | None) -> dict[str, str]:
    """The begin and end mark as the library names them, where the folder's files do not say the same."""
    ours = find_special_tokens(source)
    found = {}
    for name in _NAMED:
        value = getattr(made, name, None)
        if value is None or value == ours.get(name):
            continue
        number = made.convert_tokens_to_ids(value)
        # A class may name a mark that the model has no row for: it is the library's word alone.
        if isinstance(number, int) and (size is None or number < size):
            found[name] = str(value)
    return found


def _change(file: Path, values: Mapping[str, str]) -> None:
    if values or not file.is_file():
        config = read_object(file) if file.is_file() else {}
        file.write_text(
            json.dumps(config | dict(values), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _encode(tokenizer: Any) -> Any:
    plain = _without_batches(tokenizer)
    return lambda text, marks: plain.encode(text, add_special_tokens=marks).ids


def _encode_with(made: Any) -> Any:
    return lambda text, marks: list(made(text, add_special_tokens=marks)["input_ids"])


def _without_batches(tokenizer: Any) -> Any:
    """A copy that neither cuts nor pads."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return plain


def _marks(made: Any, tokenizer: Any) -> list[str]:
    """What stands for itself, for either of two tokenizers."""
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    of_library = [str(token) for token in getattr(made, "added_tokens_decoder", {}).values()]
    return [*map(str, getattr(made, "all_special_tokens", [])), *of_library, *added]


def _decides(tokenizer: Any) -> list[Any]:
    """What of a tokenizer decides ids inside a text; what stands around one is compared by trying it."""
    parts = json.loads(tokenizer.to_str())
    model = {key: value for key, value in parts["model"].items() if value not in (None, False, "")}
    for key in ("unk_token", "unk_id", "fuse_unk"):
        model.pop(key, None)
    return [parts["normalizer"], parts["pre_tokenizer"], model, parts["added_tokens"]]


def _cannot(source: Path, why: str, difference: Difference | None) -> InvalidModel:
    where = f" First: {difference.words(_FILE, _LIBRARY)}." if difference is not None else ""
    return InvalidModel(
        f"transformers makes other ids of `{source}` than its `tokenizer.json` says, and {why}.{where}",
        hint=_COPY,
        field="tokenizer.json",
    )


def main(folder: str) -> int:
    """Say what was found of a model's folder."""
    stay_offline()
    with tempfile.TemporaryDirectory(prefix="tunesmith-tokenizer-") as scratch:
        try:
            words, cure = library_tokenizer(Path(folder), None, Path(scratch)).words, _CURE
        except TunesmithError as error:
            words, cure = error.message, error.hint or ""
    print(json.dumps({"words": words, "cure": cure if words else ""}))  # noqa: T201  (its answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
