"""From conversations to token ids and labels: the label mask.

A token is trained when it starts inside a trained span (`tunesmith.rows.chat.trained_spans`): an answer's text and
its end-of-turn mark. Everything else has the label `IGNORE_INDEX`. The text is tokenised once, whole, so a token may
begin in a header and end in the answer: it is trained when it holds more of the answer than white space (` Yes`
behind `Bot: `).

Lookalikes of control tokens in people's text (`<|im_end|>` typed by a user) are encoded as plain text, as they must
be when the model answers. Where a tokenizer cannot do that faithfully, the row is refused.

Knows the `tokenizers` library; knows nothing of torch or batches on a device.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.builtin_templates import taking_tools
from tunesmith.rows.chat.control_tokens import ControlTokens, Span
from tunesmith.rows.chat.rendered import rendered_as
from tunesmith.rows.chat.rendering import Renderer
from tunesmith.rows.chat.template import ChatTemplate, template_of
from tunesmith.rows.chat.trained_spans import Marked, SpanFinder
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.tokens.bpe_cache import WordTokenizer
from tunesmith.rows.tokens.same_ids import first_difference
from tunesmith.rows.tokens.token_edges import edge_among, edge_of
from tunesmith.rows.tokens.tokenizer_file import check_ids, load_tokenizer, vocab_size, without_added_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORE_INDEX = -100
_log = logging.getLogger("tunesmith.rows.tokens")


class Encoded(NamedTuple):
    """One conversation or text as a model takes it."""

    input_ids: list[int]
    trained: list[Span]
    """The half-open ranges of tokens that are trained, in order; a range may reach behind the cut."""
    cut: int
    """Tokens that were cut off on the right by `max_length`."""
    needed: int
    """The smallest `max_length` that keeps a label."""
    label: str | None = None
    """The text's class, where it has one."""
    dropped: int = 0
    """Answers whose reasoning the chat template does not write."""
    lost: int = 0
    """Answers that the chat template leaves out or rewrites, so that they are not trained as they stand."""
    not_offered: int = 0
    """Answers that call a tool that the row offers nowhere."""
    marks: int = 0
    """Answers whose own text holds lookalikes of control tokens, which are trained as plain text."""
    rendered: str = ""
    """The template that wrote the text, or the question, before it was given to this one."""

    @property
    def labels(self) -> list[int]:
        """As long as `input_ids`: the token's own id where it is trained, else `IGNORE_INDEX`. Not shifted."""
        labels = [IGNORE_INDEX] * len(self.input_ids)
        for first, last in self.trained:
            labels[first:last] = self.input_ids[first:last]
        return labels

    @property
    def is_supervised(self) -> bool:
        """Whether a token is left to train on after the cut: the first one is never predicted."""
        return any(max(1, first) < min(last, len(self.input_ids)) for first, last in self.trained)

    @property
    def has_label(self) -> bool:
        """Whether any token is left to train on after the cut."""
        return self.needed <= len(self.input_ids)


class RowEncoder(Protocol):
    """Turns what rows hold into tokens and labels: `Encoder` conversations, `TextEncoder` texts."""

    @property
    def max_length(self) -> int | None:
        """Tokens a row is cut to; None does not cut."""

    def try_batch(self, batch: Sequence[Any]) -> list[Encoded | RowProblem]:
        """Encode many at once, with each bad one's problem in its place."""


class _Prepared(NamedTuple):
    marked: Marked
    hidden: dict[str, str]


_LEFT = RowProblem("Not encoded yet.")


class Encoder:
    """Encodes conversations for one model.

    Args:
        template: The model's chat template.
        tokenizer: The model's tokenizer. It is copied; its truncation, padding and post-processor are not used.
        max_length: Tokens a row is cut to, on the right.
        vocab_size: Rows of the model's embedding; a row with an id beyond it is refused. None does not check.
        whole: Train the whole conversation instead of the answers alone.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: "Tokenizer",
        max_length: int,
        vocab_size: int | None = None,
        *,
        whole: bool = False,
    ) -> None:
        from tokenizers import Tokenizer

        assert max_length > 0
        self.template = template
        self.max_length = max_length
        self._whole = whole
        self._vocab_size = vocab_size
        self._tokenizer: Any = Tokenizer.from_str(tokenizer.to_str())
        # A post-processor may trim whitespace out of the offsets (ByteLevel's does), which would move the mask's edges.
        self._tokenizer.post_processor = None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        named = [text for text in template.special_tokens.values() if tokenizer.token_to_id(text) is not None]
        self._tokenizer.add_special_tokens(named)
        texts = {
            token.content: number
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            # Some models (Phi) leave the flag off their own turn marks.
            if token.special or (token.content.startswith("<|") and token.content.endswith("|>"))
        }
        self._control = ControlTokens(texts)
        unknown = template.special_tokens.get("unk_token")
        # Plain text may well become the unknown token.
        self._control_ids = frozenset(number for text, number in texts.items() if text != unknown)
        fitting = taking_tools(lambda token: tokenizer.token_to_id(token) is not None)
        self.renderer = Renderer(template, next(fitting, ""))
        self._spans = SpanFinder(self.renderer, self._control)
        self._plain: Any = None
        self._words = _held_to(self._tokenizer, WordTokenizer.of(self._tokenizer), texts)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        max_length: int,
        *,
        tokenizer: str | Path | None = None,
        chat_template: str | None = None,
        whole: bool = False,
    ) -> Self:
        """The encoder of a model folder.

        Args:
            folder: The model's folder.
            max_length: Tokens a row is cut to.
            tokenizer: Another folder whose tokenizer, and chat template if it has one, is used instead.
            chat_template: A built-in template's name or a Jinja file's path, instead of the folder's own.
            whole: Train the whole conversation instead of the answers alone.

        Raises:
            InvalidModel: Its tokenizer or its chat template is missing or broken.
            InvalidInput: The chosen template is unknown, or does not fit the tokenizer.
        """
        source = Path(tokenizer or folder)
        template = template_of(folder, tokenizer=tokenizer, chat_template=chat_template)
        return cls(template, load_tokenizer(source), max_length, vocab_size(Path(folder)), whole=whole)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode one conversation.

        Raises:
            RowProblem: The template refuses it, no answer can be located, or a lookalike cannot be made harmless.
        """
        return self.encode_batch([messages])[0]

    def encode_batch(self, batch: Sequence[Sequence[Message]]) -> list[Encoded]:
        """Encode many at once, which is faster.

        Raises:
            RowProblem: As `encode`, for the first conversation that is bad.
        """
        results: list[Encoded] = []
        for result in self.try_batch(batch):
            if isinstance(result, RowProblem):
                raise result
            results.append(result)
        return results

    def try_batch(self, batch: Sequence[Sequence[Message]]) -> list[Encoded | RowProblem]:
        """As `encode_batch`, with each bad conversation's problem in its place."""
        prepared = [self._prepare(messages) for messages in batch]
        results: list[Encoded | RowProblem] = []
        left: list[tuple[int, Marked]] = []
        for one in prepared:
            try:
                if isinstance(one, RowProblem):
                    raise one
                if one.hidden:
                    ids, offsets = self._encode_around(one.marked.text, one.hidden)
                    results.append(self._finish(one.marked, ids, partial(edge_among, offsets)))
                elif self._words and (words := self._words.encode(one.marked.text)):
                    results.append(self._finish(one.marked, words.ids, words.edge))
                else:
                    left.append((len(results), one.marked))
                    results.append(_LEFT)
            except RowProblem as problem:
                results.append(problem)
        texts = [marked.text for _, marked in left]
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False) if texts else []
        for (place, marked), encoding in zip(left, encodings, strict=True):
            try:
                results[place] = self._finish(marked, encoding.ids, partial(edge_of, encoding))
            except RowProblem as problem:
                results[place] = problem
        return results

    def _prepare(self, messages: Sequence[Message]) -> _Prepared | RowProblem:
        try:
            hidden_messages, hidden = self._control.hide(messages)
            find = self._spans.find_all if self._whole else self._spans.find
            marked = find(hidden_messages)
            marked.text.encode()
            if hidden:
                learned = [one.content for one in hidden_messages if one.role == "assistant" and one.weight]
                marked = marked._replace(marks=sum(any(map(text.__contains__, hidden)) for text in learned))
            marked = marked._replace(rendered=rendered_as(messages) or "")
        except RowProblem as problem:
            return problem
        except UnicodeEncodeError:
            return RowProblem("The text holds half of a surrogate pair, which is no character.", "Remove it.")
        return _Prepared(marked, hidden)

    def _check(self, text: str, ids: list[int]) -> None:
        # Fewer are fine (a token may only count as a word of its own); more were made out of people's text.
        if sum(map(self._control_ids.__contains__, ids)) > self._control.count(text):
            raise RowProblem(
                "The tokenizer reads some of the row's own text as a control token.",
                "Remove text that looks like the model's control tokens.",
            )
        check_ids(ids, self._vocab_size)

    def _finish(self, marked: Marked, ids: list[int], edge: Callable[[int], Span]) -> Encoded:
        self._check(marked.text, ids)
        trained: list[Span] = []
        needed = 0
        for begin, end in marked.spans:
            (first, before), (last, _) = edge(begin), edge(end)
            if first and marked.text[begin:before].strip():
                first -= 1
            if last > first:
                trained.append((first, last))
                needed = needed or first + 1
        if not needed:
            raise RowProblem(
                "No token of the answers can be trained on.", "Write longer answers or remove the row."
            )
        kept = self.max_length
        cut = max(0, len(ids) - kept)
        said = (marked.dropped, marked.lost, marked.not_offered, marked.marks, marked.rendered)
        return Encoded(ids[:kept], trained, cut, needed, None, *said)

    def _encode_around(self, text: str, hidden: Mapping[str, str]) -> tuple[list[int], list[Span]]:
        """Ids and their places in the text with hidden lookalikes; each lookalike is encoded as plain text."""
        if self._plain is None:
            self._plain = without_added_tokens(self._tokenizer)
        pieces: list[tuple[int, int, Any]] = []  # begin, end, what it is encoded with
        begin = 0
        for at, char in enumerate(text):
            if char in hidden:
                pieces += [(begin, at, self._tokenizer), (at, at + 1, self._plain)]
                begin = at + 1
        pieces.append((begin, len(text), self._tokenizer))
        ids: list[int] = []
        offsets: list[Span] = []
        for begin, end, tokenizer in pieces:
            piece = text[begin:end]
            encoding = tokenizer.encode(hidden.get(piece, piece), add_special_tokens=False)
            ids += encoding.ids
            is_plain = tokenizer is self._plain
            offsets += [(begin, end) if is_plain else (begin + a, begin + b) for a, b in encoding.offsets]
        # A tokenizer that writes something at the start of every text (SentencePiece's space) would have changed it.
        original = "".join(hidden.get(char, char) for char in text)
        if self._decode(ids) != self._decode(self._tokenizer.encode(original, add_special_tokens=False).ids):
            found = ", ".join(f"`{token}`" for token in hidden.values())
            raise RowProblem(
                f"The row's text holds {found}, which this model's tokenizer reads as a control token.",
                "Remove it from the text, or write it apart, e.g. with a space inside.",
            )
        return ids, offsets

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _held_to(tokenizer: Any, words: WordTokenizer | None, marks: Iterable[str]) -> WordTokenizer | None:
    """What encodes by words, where it gives the library's ids; None where it does not, and the library encodes."""
    if words is None:
        return None
    own = words

    def by_library(text: str, _: bool) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def by_words(text: str, _: bool) -> list[int]:
        found = own.encode(text)
        return by_library(text, False) if found is None else found.ids

    difference = first_difference(by_words, by_library, marks, ways=(False,))
    if difference is None:
        return own
    _log.warning("The library encodes every text: %s.", difference.words("by words", "the library"))
    return None
