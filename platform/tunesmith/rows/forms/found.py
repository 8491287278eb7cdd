"""Which form a file's rows are written in, by their columns and first values."""

from collections.abc import Sequence

from tunesmith.rows.files.decoding import Row
from tunesmith.rows.forms.form import Form
from tunesmith.rows.forms.gemini import Gemini
from tunesmith.rows.forms.glaive import Glaive
from tunesmith.rows.forms.listed import Alternating, Turns

_FORMS = (Gemini, Glaive, Alternating, Turns)


def form_of(rows: Sequence[Row], found: Sequence[str]) -> Form | None:
    """The form of rows; None where it is none of these.

    Args:
        rows: The first rows of a file.
        found: Their columns.
    """
    for kind in _FORMS:
        form: Form | None = kind.among(rows, found)
        if form is not None:
            return form
    return None
