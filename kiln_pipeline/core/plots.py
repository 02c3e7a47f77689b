"""Three small plots as SVG text: lines over time, bars of two parts, and spreads. The same values give the same bytes.

Colours are classes that the page's style sheet fills, light and dark (`templates/site/plots.css`); text is text, and every plot
has a title and a description for who does not see it. What is plotted is the callers' affair.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from math import ceil, log10
from statistics import quantiles

import svg

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 168, 12, 26
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 4")
_ROW = 24

Points = Sequence[tuple[datetime, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How long something took: five numbers of one group."""

    label: str
    count: int
    least: float
    lower: float
    middle: float
    upper: float
    most: float

    @classmethod
    def of(cls, label: str, values: Sequence[float]) -> "Spread":
        """Summarise at least one value."""
        ordered = sorted(values)
        lower, middle, upper = quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
        return cls(label=label, count=len(ordered), least=ordered[0], lower=lower, middle=middle, upper=upper, most=ordered[-1])


def lines(name: str, title: str, description: str, series: Sequence[tuple[str, Points]]) -> str:
    """Draw steps over time, one line with its own dashes and its label at the end for each of `series`, all in time's order."""
    times = [at for _, points in series for at, _ in points]
    first, last = min(times), max(times)
    last = max(last, first + timedelta(hours=1))
    top = _round_up(max(number for _, points in series for _, number in points))
    x = _scale(0, (last - first).total_seconds(), _LEFT, WIDTH - _RIGHT)
    y = _scale(0, top, HEIGHT - _BOTTOM, _TOP)
    elements = _frame(top, y, first, last)
    labels = _apart([y(points[-1][1]) for _, points in series])
    for number, ((label, points), place) in enumerate(zip(series, labels, strict=True)):
        path: list[svg.PathData] = [svg.M(x((points[0][0] - first).total_seconds()), y(points[0][1]))]
        for at, value in points[1:]:
            path += [svg.H(x((at - first).total_seconds())), svg.V(y(value))]
        path.append(svg.H(x((last - first).total_seconds())))
        dashes = _DASHES[number % len(_DASHES)]
        elements.append(
            svg.Path(d=path, class_=[f"line s{number % 6 + 1}"], extra={"stroke-dasharray": dashes} if dashes else {})
        )
        elements.append(_text(f"{points[-1][1]:.0f} {label}", WIDTH - _RIGHT + 6, place + 4, f"s{number % 6 + 1}"))
    return _drawing(name, title, description, HEIGHT, elements)


def bars(name: str, title: str, description: str, parts: Sequence[tuple[str, int, int]]) -> str:
    """Draw a bar for each (label, well, badly), the first part below the second."""
    top = _round_up(max(well + badly for _, well, badly in parts))
    y = _scale(0, top, HEIGHT - _BOTTOM, _TOP)
    step = (WIDTH - _LEFT - 8) / len(parts)
    elements = _axis(top, y, WIDTH - 8)
    every = ceil(len(parts) / 8)
    for number, (label, well, badly) in enumerate(parts):
        left, width = round(_LEFT + number * step + step * 0.1, 1), round(min(step * 0.8, 40), 1)
        for kind, low, high in (("ok", 0, well), ("bad", well, well + badly)):
            if high > low:
                elements.append(svg.Rect(x=left, y=y(high), width=width, height=round(y(low) - y(high), 1), class_=[kind]))
        if number % every == 0:
            elements.append(_text(label, left, HEIGHT - 8))
    return _drawing(name, title, description, HEIGHT, elements)


def spreads(name: str, title: str, description: str, rows: Sequence[Spread]) -> str:
    """Draw a row for each spread on a common logarithmic scale of seconds: least to most, the middle half, the median."""
    low, high = 0.0, max(1.0, ceil(log10(max(row.most for row in rows) + 1)))
    left = 150
    scale = _scale(low, high, left, WIDTH - 60)

    def x(seconds: float) -> float:
        return scale(log10(max(seconds, 1)))

    height = len(rows) * _ROW + 30
    elements: list[svg.Element] = []
    for tick in (1, 10, 60, 600, 3600, 36000):
        if log10(tick) <= high:
            elements.append(svg.Line(x1=x(tick), x2=x(tick), y1=4, y2=height - 24, class_=["grid"]))
            elements.append(_text(duration(tick), x(tick) - 8, height - 8))
    for number, row in enumerate(rows):
        middle = number * _ROW + 16
        elements += [
            _text(row.label if len(row.label) <= 20 else row.label[:19] + "…", 0, middle + 4),
            svg.Line(x1=x(row.least), x2=x(row.most), y1=middle, y2=middle, class_=["line s1"]),
            svg.Rect(
                x=x(row.lower), y=middle - 6, width=max(2, round(x(row.upper) - x(row.lower), 1)), height=12, class_=["box"]
            ),
            svg.Line(x1=x(row.middle), x2=x(row.middle), y1=middle - 8, y2=middle + 8, class_=["line median"]),
            _text(duration(row.middle), WIDTH - 54, middle + 4),
        ]
    return _drawing(name, title, description, height, elements)


def duration(seconds: float) -> str:
    """Say a time: ``42 s``, ``3.5 min``, ``2 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 3600 else (seconds / 3600, "h")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: round(start + (value - low) / (high - low or 1) * (end - start), 1)


def _round_up(number: float) -> int:
    """Return 1, 2 or 5 times a power of ten, at least `number` and at least 4."""
    return next(step * 10**power for power in range(12) for step in (1, 2, 5) if step * 10**power >= max(number, 4))


def _frame(top: int, y: Callable[[float], float], first: datetime, last: datetime) -> list[svg.Element]:
    form = "%Y-%m-%d" if last - first > timedelta(days=2) else "%d %b %H:%M"
    right = WIDTH - _RIGHT
    return [
        *_axis(top, y, right),
        _text(f"{first:{form}}", _LEFT, HEIGHT - 8),
        _text(f"{last:{form}}", right, HEIGHT - 8, "end"),
    ]


def _axis(top: int, y: Callable[[float], float], right: float) -> list[svg.Element]:
    found: list[svg.Element] = []
    for number in (0, top / 2, top):
        found.append(svg.Line(x1=_LEFT, x2=right, y1=y(number), y2=y(number), class_=["grid"]))
        found.append(_text(f"{number:g}", _LEFT - 6, y(number) + 4, "end"))
    return found


def _apart(places: Sequence[float], least: float = 15) -> list[float]:
    """Move labels down and up so that none covers another, in the order of their places."""
    order = sorted(range(len(places)), key=lambda number: (places[number], number))
    moved, before = list(places), -1e9
    for number in order:
        moved[number] = before = max(moved[number], before + least)
    over = max(0.0, before - (HEIGHT - _BOTTOM))
    return [round(place - over, 1) for place in moved]


def _text(text: str, x: float, y: float, *classes: str) -> svg.Text:
    return svg.Text(text=escape(text), x=round(x, 1), y=round(y, 1), class_=list(classes) or None)  # svg.py escapes nothing


def _drawing(name: str, title: str, description: str, height: int, elements: list[svg.Element]) -> str:
    told: list[svg.Element] = [
        svg.Title(text=escape(title), id=f"{name}-title"),
        svg.Desc(text=escape(description), id=f"{name}-desc"),
    ]
    return svg.SVG(
        viewBox=svg.ViewBoxSpec(0, 0, WIDTH, height),
        class_=["plot"],
        elements=[*told, *elements],
        extra={"role": "img", "aria-labelledby": f"{name}-title {name}-desc"},
    ).as_str()
