"""The report's drawings, as SVG: differences with intervals, means over steps, distributions.

Knows numbers and labels; draws with classes of the style sheet, so that they follow light, dark and paper.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.evaluation.report.markup import Html, element, together
from tunesmith.evaluation.sentences import number, signed

WIDTH = 1000.0
_LEFT, _RIGHT, _ROW = 210.0, 215.0, 30.0
_COLOURS = 5


class Bar(NamedTuple):
    """A mean with its interval, under a label."""

    label: str
    mean: float
    low: float
    high: float
    verdict: str = ""


class Point(NamedTuple):
    """A mean with its interval, at a step."""

    step: int
    mean: float
    low: float
    high: float


def fitted(label: str, most: int = 27) -> str:
    """A label as it fits beside a drawing: Chinese characters are two columns wide; its end tells most."""
    widths = [2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in label]
    if sum(widths) <= most:
        return label
    kept, total = 0, 1
    for width in reversed(widths):
        if total + width > most:
            break
        kept, total = kept + 1, total + width
    return "…" + label[len(label) - kept :]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from end to end, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale(NamedTuple):
    """From numbers to places in the drawing."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def _scale(values: Sequence[float], begin: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 0.05
    return _Scale(low - room, high + room, begin, end)


def _tick(value: float) -> str:
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def _svg(height: float, title: str, *parts: Html) -> Html:
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


def _text(x: float, y: float, text: str, anchor: str = "start", class_: str | None = None) -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _label(y: float, label: str) -> Html:
    return element("g", element("title", label), _text(_LEFT - 14, y + 4, fitted(label), "end"))


def forest(bars: Sequence[Bar], title: str, smallest: float | None) -> Html:
    """Differences with their intervals, a row each, around 0."""
    height = 14 + _ROW * len(bars) + 30
    bottom = height - 30
    values = [0.0, *(end for bar in bars for end in (bar.low, bar.high))]
    if smallest is not None:
        values += [smallest, -smallest]
    x = _scale(values, _LEFT, WIDTH - _RIGHT)
    parts: list[Html] = []
    if smallest is not None:
        zone = x(smallest) - x(-smallest)
        parts.append(element("rect", x=x(-smallest), y=6, width=zone, height=bottom - 6, class_="zone"))
    for tick in ticks(x.low, x.high):
        parts.append(_line(x(tick), 6, x(tick), bottom, "grid"))
        parts.append(_text(x(tick), bottom + 18, _tick(tick), "middle", "soft"))
    parts.append(_line(x(0), 6, x(0), bottom, "axis"))
    for row, bar in enumerate(bars):
        y = 14 + _ROW * (row + 0.5)
        colour = {"better": "rise", "worse": "fall"}.get(bar.verdict, "plain")
        hollow = "" if bar.verdict in ("better", "worse") else " hollow"
        parts += [
            _label(y, bar.label),
            element("line", x1=x(bar.low), y1=y, x2=x(bar.high), y2=y, class_=colour, stroke_width=2),
            _line(x(bar.low), y - 5, x(bar.low), y + 5, colour),
            _line(x(bar.high), y - 5, x(bar.high), y + 5, colour),
            element("circle", cx=x(bar.mean), cy=y, r=5, class_=colour + hollow, stroke_width=2),
            _text(WIDTH - _RIGHT + 16, y + 4, f"{signed(bar.mean)}  [{number(bar.low)}, {number(bar.high)}]"),
        ]
    return _svg(height, title, *parts)


def over_steps(lines: Sequence[tuple[str, Sequence[Point]]], base: Bar | None, title: str) -> Html:
    """Means with their intervals over steps, a line a task; the base across."""
    height, top, bottom, left = 300.0, 12.0, 264.0, 60.0
    points = [point for _, line in lines for point in line]
    ends = [end for point in points for end in (point.low, point.high)]
    ends += [base.low, base.high] if base else []
    x = _scale([float(point.step) for point in points], left, WIDTH - _RIGHT + 20)
    y = _scale(ends, bottom, top)
    parts: list[Html] = []
    for tick in ticks(y.low, y.high):
        parts.append(_line(x.begin, y(tick), x.end, y(tick), "grid"))
        parts.append(_text(left - 8, y(tick) + 4, _tick(tick), "end", "soft"))
    for step in [tick for tick in ticks(x.low, x.high, 8) if tick >= 0 and tick == int(tick)]:
        parts.append(_text(x(step), bottom + 20, _tick(step), "middle", "soft"))
    parts.append(_line(x.begin, bottom, x.end, bottom, "axis"))
    if base is not None:
        parts.append(_line(x.begin, y(base.mean), x.end, y(base.mean), "plain dash"))
        parts.append(_text(x.end + 10, y(base.mean) + 4, fitted(base.label, 26), "start", "soft"))
    for order, (label, line) in enumerate(lines):
        colour = f"c{order % _COLOURS}"
        path = " ".join(f"{x(point.step):.1f},{y(point.mean):.1f}" for point in line)
        parts.append(element("polyline", points=path, class_=colour))
        for point in line:
            place = x(point.step)
            parts += [
                _line(place, y(point.low), place, y(point.high), colour),
                element("circle", cx=place, cy=y(point.mean), r=4, class_=colour),
            ]
        if len(lines) > 1:
            parts.append(_text(x.end + 10, top + 14 + 18 * order, fitted(label, 24)))
            parts.append(element("circle", cx=x.end + 4, cy=top + 10 + 18 * order, r=4, class_=colour))
    return _svg(height, title, *parts)


def distributions(rows: Sequence[tuple[str, Sequence[float]]], title: str, low: float, high: float) -> Html:
    """How many samples have which score: a histogram a candidate, all on one scale."""
    bins, row_height = 25, 46.0
    height = row_height * len(rows) + 34
    bottom = height - 30
    x = _Scale(low, high, _LEFT, WIDTH - _RIGHT)
    counted = []
    for _, values in rows:
        counts = [0] * bins
        for value in values:
            counts[min(max(int((value - low) / (high - low) * bins), 0), bins - 1)] += 1
        counted.append(counts)
    most = max((max(counts) for counts in counted), default=1) or 1
    parts: list[Html] = []
    for tick in ticks(low, high):
        parts.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        parts.append(_text(x(tick), bottom + 18, _tick(tick), "middle", "soft"))
    width = (x.end - x.begin) / bins
    for order, ((label, values), counts) in enumerate(zip(rows, counted, strict=True)):
        floor = row_height * (order + 1)
        parts.append(_label(floor - row_height / 2, label))
        for place, count in enumerate(counts):
            if count:
                tall = count / most * (row_height - 8)
                parts.append(
                    element(
                        "rect",
                        element("title", str(count)),
                        x=x.begin + place * width + 0.75,
                        y=floor - tall,
                        width=width - 1.5,
                        height=tall,
                        class_="bar",
                    )
                )
        parts.append(_line(x.begin, floor, x.end, floor, "axis"))
        if values:
            mean = math.fsum(values) / len(values)
            parts.append(_line(x(mean), floor - row_height + 6, x(mean), floor, "mean"))
            parts.append(_text(x.end + 16, floor - row_height / 2 + 4, number(mean)))
    return _svg(height, title, together(*parts))
