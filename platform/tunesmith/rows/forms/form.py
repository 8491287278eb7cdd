"""What a form of rows is: its name, the columns that it reads, and the conversation in a row. Knows no form by name."""

from typing import Protocol

from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.decoding import Row


class Form(Protocol):
    """How one tool writes conversations into rows, in the columns of one file."""

    @property
    def name(self) -> str:
        """What it is called, for a report."""
        ...

    @property
    def meaning(self) -> dict[str, str]:
        """What its columns become, by their names in the file."""
        ...

    def holds(self, row: Row) -> bool:
        """Whether a row is written so: rows of several tables put together differ."""
        ...

    def read(self, row: Row) -> list[Message]:
        """The conversation in a row.

        Raises:
            RowProblem: It cannot be trained on; names the field.
        """
        ...
