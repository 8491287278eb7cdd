"""Texts of strangers that would run where they were taken for a page's or a program's own. No test itself."""

import re
from typing import Any

ONE_OF_EACH = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    '"><iframe srcdoc="<script>parent.hit=1</script>">',
    "[a](javascript:window.hit=1)",
    "![a](x onerror=window.hit=1)",
    "<a href='data:text/html,<script>opener.hit=1</script>'>a</a>",
    "{{constructor.constructor('window.hit=1')()}}",
    "</style><script>window.hit=1</script>",
)
"""One of each kind."""
_TAGS = (
    *(
        "img src=x",
        "svg",
        "body",
        "details open",
        "video src=x",
        "input autofocus",
        "marquee",
        "iframe src=x",
    ),
    *("object data=x", "a href=x"),
)
_EVENTS = ("onerror", "onload", "ontoggle", "onfocus", "onstart", "onmouseover")
_CALLS = ("window.hit=1", "window['hit']=1", "top.hit&#61;1")
_SCHEMES = (
    *("javascript:", "JaVaScRiPt:", "java\tscript:", "&#106;avascript:", "vbscript:"),
    "data:text/html,<script>top.hit=1</script>",
)
_BREAKS = ('"', "'", "-->", "]]>", "</title>", "</textarea>", "</style>", "`")
HUNDRED = (
    *ONE_OF_EACH,
    *(
        f"<{tag} {event}={_CALLS[i % 3]}>"
        for i, (tag, event) in enumerate((tag, event) for tag in _TAGS for event in _EVENTS)
    ),
    *(f"[a]({scheme}window.hit=1)" for scheme in _SCHEMES),
    *(f"<{scheme}window.hit=1>" for scheme in _SCHEMES),
    *(f"{end}><script>window.hit=1</script>" for end in _BREAKS),
    *(f"{end} onfocus=window.hit=1 autofocus x={end}" for end in _BREAKS),
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    "\u202e<script>window.hit=1</script>",
    "${window.hit=1}",
    "#{window.hit=1}",
    "<style>@import 'http://example.com'</style>",
    "<base href=//example.com>",
    "<meta http-equiv=refresh content='0;url=//example.com'>",
)
"""More than a hundred."""
_KEPT = frozenset(
    [
        "state",
        "kind",
        "id",
        "task_id",
        "time",
        "level",
        "verdict",
        "fault",
        "status",
        "code",
        "desired",
        "reason",
        "candidate",
        "key",
        "sample_id",
        "score",
        "role",
        "split",
        "recommended",
        "finish_reason",
        "better",
        "operation",
    ]
)
"""What the platform itself says: a word of its own, a name that leads elsewhere."""


def hostile(value: Any, text: str, key: str = "") -> Any:
    """An answer of the API in which every text that a stranger may write is an attack.

    Args:
        value: The answer, or a part of it.
        text: The attack.
        key: Under which name the part stands.
    """
    if isinstance(value, dict):
        return {name: hostile(inner, text, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, text, key) for inner in value]
    is_moment = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value)
    # With what stood there: what the platform keeps apart, as data sets' names, stays apart.
    return f"{text} {value}" if isinstance(value, str) and key not in _KEPT and not is_moment else value
