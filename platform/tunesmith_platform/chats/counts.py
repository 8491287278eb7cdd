"""What this server has answered, in numbers, for Prometheus. A restart begins anew, as counters do."""

from collections import deque

from tunesmith.chat.wire import End

_RECENT = 200


class Counts:
    """Answers, tokens, and how long the first token took. Lives on the event loop."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.seconds = 0.0
        self._first: deque[float] = deque(maxlen=_RECENT)

    def note(self, end: End) -> None:
        """An answer is whole."""
        self.answered += 1
        self.prompt_tokens += end.prompt_tokens
        self.completion_tokens += end.completion_tokens
        self.seconds += end.seconds
        self._first.append(end.first_token_seconds)

    @property
    def first_token_seconds(self) -> float | None:
        """Half of the newest answers began within so long."""
        return sorted(self._first)[len(self._first) // 2] if self._first else None
