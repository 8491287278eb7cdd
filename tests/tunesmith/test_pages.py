"""Pages of a list: what was found beyond the page says that there is another."""

import pytest

from tunesmith.views import Page


@pytest.mark.parametrize(
    ("found", "data", "has_more", "after"),
    [([], [], False, None), ([7, 6], [7, 6], False, None), ([7, 6, 5], [7, 6], True, "6")],
)
def test_one_too_many_says_that_there_are_more(
    found: list[int], data: list[int], has_more: bool, after: str | None
) -> None:
    page = Page.of(found, 2, lambda number: number)
    assert (page.data, page.has_more, page.next) == (data, has_more, after)
