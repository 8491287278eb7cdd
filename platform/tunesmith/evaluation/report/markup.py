"""HTML whose texts cannot become markup: whatever is not `Html` is escaped where it is put in.

What models answer is hostile input: it may hold tags, attributes, or marks that turn the direction of what follows.
"""

import html
import re

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters, marks of direction, what has no width, halves of pairs: a reader would not see what they do."""
_VOID = frozenset({"meta", "br", "line", "rect", "circle", "path", "polyline", "polygon"})


class Html(str):
    """Markup that is safe already."""

    __slots__ = ()


Child = str | Html | None


def escaped(text: str) -> Html:
    """A text as it stands in a page or an attribute, with what would not be seen spelled out."""
    return Html(html.escape(_UNSHOWN.sub(_spelled, text.replace("\r\n", "\n")), quote=True))


def _spelled(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element; texts in it are escaped, and so are the values of attributes.

    Args:
        name: The element's, of ours.
        children: Texts, or markup.
        attributes: `class_` is `class`, `stroke_width` is `stroke-width`; those that are None or False are left
            out, and True stands alone.
    """
    given = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{escaped(_text(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{together(*children)}</{name}>")


def together(*children: Child) -> Html:
    """Several behind each other."""
    return Html(
        "".join(one if isinstance(one, Html) else escaped(one) for one in children if one is not None)
    )


def _attribute(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _text(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
