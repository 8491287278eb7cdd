"""Curves drawn with characters: two by four dots a cell (Unicode braille), or stars where a terminal has no braille.

Knows points; knows neither tasks nor colours.
"""

from collections.abc import Sequence

from tunesmith.language import tr

Point = tuple[float, float]
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of a braille cell's dot, by column, then by row from the top."""
_BRAILLE = 0x2800
_LABEL_WIDTH = 9


def draw(
    points: Sequence[Point], *, width: int = 72, height: int = 10, title: str = "", ascii_only: bool = False
) -> str:
    """A curve with its axes, as lines of text.

    Args:
        points: (x, y) pairs, x rising.
        width: Columns of the whole chart, labels included.
        height: Rows of the curve.
        title: Written above it.
        ascii_only: Draw with stars instead of braille.

    Returns:
        At most `height + 3` lines; the word `no points yet` when there are none.
    """
    head = [f"{'':{_LABEL_WIDTH}} {title}"] if title else []
    if not points:
        return "\n".join([*head, f"{'':{_LABEL_WIDTH}} {tr('no points yet')}"])
    columns = max(8, width - _LABEL_WIDTH - 2)
    low, high = min(y for _, y in points), max(y for _, y in points)
    cells = _cells(points, columns, height, low, high)
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}", (height - 1) // 2: f"{(high + low) / 2:.4g}"}
    if high == low:
        labels = {(height - 1) // 2: f"{low:.4g}"}
    body = []
    for row, line in enumerate(cells):
        marks = "".join(
            (" *"[bool(bits)] if ascii_only else chr(_BRAILLE + bits)) if bits else " " for bits in line
        )
        axis = "|" if ascii_only else "┤" if row in labels else "│"
        body.append(f"{labels.get(row, ''):>{_LABEL_WIDTH}} {axis}{marks}".rstrip())
    corner, floor = ("+", "-") if ascii_only else ("└", "─")
    first, last = f"{points[0][0]:g}", f"{points[-1][0]:g}"
    return "\n".join(
        [
            *head,
            *body,
            f"{'':{_LABEL_WIDTH}} {corner}{floor * columns}",
            f"{'':{_LABEL_WIDTH}}  {first}{last:>{max(1, columns - len(first))}}",
        ]
    )


def _cells(points: Sequence[Point], columns: int, rows: int, low: float, high: float) -> list[list[int]]:
    """The dots of the curve: a bit set for each cell."""
    wide, tall = columns * 2 - 1, rows * 4 - 1
    left, right = points[0][0], points[-1][0]
    cells = [[0] * columns for _ in range(rows)]

    def place(point: Point) -> tuple[int, int]:
        x = (point[0] - left) / (right - left) * wide if right > left else 0
        y = (high - point[1]) / (high - low) * tall if high > low else tall // 2
        return round(x), round(y)

    before = place(points[0])
    for point in points:
        after = place(point)
        # A straight line of dots: as many as the longer side has.
        count = max(abs(after[0] - before[0]), abs(after[1] - before[1]), 1)
        for i in range(count + 1):
            x = before[0] + round((after[0] - before[0]) * i / count)
            y = before[1] + round((after[1] - before[1]) * i / count)
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        before = after
    return cells
