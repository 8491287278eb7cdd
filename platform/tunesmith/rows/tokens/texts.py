"""From plain texts to token ids and labels: documents for pre-training, texts for SFT, texts with a class.

A text is read as the tokenizer reads it: control tokens in it are the writer's own (a text may be a conversation that
was rendered elsewhere), and the tokenizer's own begin mark is kept: one, also where the writer put it there already. A
document ends with the model's end of text.

Knows the `tokenizers` library; knows nothing of conversations or templates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.rendered import rendered_as
from tunesmith.rows.chat.template import find_special_tokens
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.shapes import Text
from tunesmith.rows.tokens.encoding import Encoded
from tunesmith.rows.tokens.tokenizer_file import check_ids, load_tokenizer, vocab_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextEncoder:
    """Encodes texts for one model. The first token has no label: nothing predicts it.

    Args:
        tokenizer: The model's tokenizer. It is copied; its truncation and padding are not used.
        max_length: Tokens a text is cut to, on the right; None does not cut.
        end: The token that is put behind a text; None puts none and gives no labels, as a classifier is trained.
        vocab_size: Rows of the model's embedding; a text with an id beyond it is refused. None does not check.
    """

    template = None

    def __init__(
        self, tokenizer: "Tokenizer", max_length: int | None, end: int | None, vocab_size: int | None = None
    ) -> None:
        from tokenizers import Tokenizer

        self.max_length = max_length
        self._end = end
        self._vocab_size = vocab_size
        self._tokenizer: Any = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._before, self._after = _marks(self._tokenizer)
        self._begin_text, self._after_text = map(self._text_of, (self._before, self._after))
        self._end_text = self._text_of([] if end is None else [end])
        if end is None and max_length is not None:
            # The tokenizer itself keeps the marks that a classifier reads (`[SEP]`) when it cuts.
            self._tokenizer.enable_truncation(max_length)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        max_length: int | None,
        *,
        tokenizer: str | Path | None = None,
        classify: bool = False,
    ) -> "TextEncoder":
        """The encoder of a model folder, or of a model with the tokenizer of another folder.

        Raises:
            InvalidModel: Its tokenizer is missing or broken, or nothing says which token ends a text.
        """
        source = Path(tokenizer or folder)
        loaded = load_tokenizer(source)
        end = None if classify else _end_of_text(loaded, source, Path(folder))
        return cls(loaded, max_length, end, vocab_size(Path(folder)))

    def try_batch(self, batch: Sequence[Text]) -> list[Encoded | RowProblem]:
        """Encode many at once, with each bad one's problem in its place."""
        results: list[Encoded | RowProblem] = []
        for text, encoding in zip(
            batch, self._tokenizer.encode_batch([sample.text for sample in batch]), strict=True
        ):
            try:
                results.append(self._finish(text, encoding))
            except RowProblem as problem:
                results.append(problem)
        return results

    def prompt(self, text: str) -> list[int]:
        """The tokens of a text that a model is to go on with: with the tokenizer's begin mark, without its end mark.

        Raises:
            RowProblem: The tokenizer makes no token of it, or one that the model does not know.
        """
        ids = self._once(self._tokenizer.encode(text).ids, text)
        after = len(self._after)
        if after and ids[-after:] == self._after:
            ids = ids[:-after]
        check_ids(ids, self._vocab_size)
        if not ids:
            raise RowProblem("The tokenizer makes no token of the text.", "Write something.")
        return ids

    def _finish(self, text: Text, encoding: Any) -> Encoded:
        # Of a text that is cut, the library keeps its own mark behind what is left.
        ids = encoding.ids if encoding.overflowing else self._once(encoding.ids, text.text)
        check_ids(ids, self._vocab_size)
        if not ids:
            raise RowProblem("The tokenizer makes no token of the text.", "Remove the row.")
        if self._end is None:
            cut = sum(len(part.ids) for part in encoding.overflowing)
            return Encoded(ids, [], cut, 1, text.label)
        if ids[-1] != self._end and not _ends_with(text.text, self._end_text):
            ids = [*ids, self._end]
        kept = len(ids) if self.max_length is None else self.max_length
        return Encoded(
            ids[:kept],
            [(1, len(ids))],
            max(0, len(ids) - kept),
            needed=2,
            label=text.label,
            rendered=rendered_as(text.text) or "",
        )

    def _once(self, ids: list[int], text: str) -> list[int]:
        """The same without the marks that the tokenizer put around a text that has them itself.

        White space may stand around its own: behind the last turn a template often writes a line break.
        """
        before, after = len(self._before), len(self._after)
        has_begin = before and ids[before : 2 * before] == self._before
        if has_begin or (self._begin_text and text.lstrip().startswith(self._begin_text)):
            ids = ids[before:]
        has_end = after and len(ids) >= 2 * after and ids[-2 * after : -after] == self._after
        if has_end or _ends_with(text, self._after_text):
            ids = ids[:-after] if ids[-after:] == self._after else ids
        return ids

    def _text_of(self, ids: list[int]) -> str:
        """What tokens look like in a text; empty where one of them stands for no text of its own."""
        added = self._tokenizer.get_added_tokens_decoder()
        return "".join(added[number].content for number in ids) if all(i in added for i in ids) else ""


def _ends_with(text: str, mark: str) -> bool:
    return bool(mark) and text.rstrip().endswith(mark)


def _marks(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before and behind every text."""
    plain, marked = (tokenizer.encode("a", add_special_tokens=flag).ids for flag in (False, True))
    for begin in range(len(marked) - len(plain) + 1 if plain else 0):
        if marked[begin : begin + len(plain)] == plain:
            return marked[:begin], marked[begin + len(plain) :]
    return [], []


def _end_of_text(tokenizer: "Tokenizer", folder: Path, model: Path) -> int:
    """The token that ends a text: the tokenizer's `eos_token`, else what the model's config names."""
    name = find_special_tokens(folder).get("eos_token")
    number = tokenizer.token_to_id(name) if name else None
    if number is not None:
        return int(number)
    for file in (model / "generation_config.json", model / "config.json"):
        value = read_object(file).get("eos_token_id") if file.is_file() else None
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and value >= 0:
            return value
    raise InvalidModel(
        f"`{folder}` does not say which token ends a text.",
        hint="Write `eos_token` into its `tokenizer_config.json`.",
        field="tokenizer_config.json",
    )
