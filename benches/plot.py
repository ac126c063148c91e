"""Line plots as SVG, by hand: a few hundred bytes of markup need no library.

Both axes are drawn for reading off, the horizontal one logarithmic. Colours are named once, as classes, and exchanged
when the reader's system is dark (`prefers-color-scheme`, which counts inside an image too); the page shows through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 52, 56
STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #4b5563 }
.title { font-size: 14px; font-weight: 600; fill: #111827 }
.grid { stroke: #e5e7eb; stroke-width: 1 }
.axis { stroke: #9ca3af; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.band { stroke: none; opacity: 0.14 }
.s0 { stroke: #2563eb; fill: #2563eb } .s1 { stroke: #9a6b00; fill: #9a6b00; stroke-dasharray: 5 3 }
.s2 { stroke: #0f766e; fill: #0f766e } .dot { stroke-dasharray: none } .name { stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #9ca3af } .title { fill: #f3f4f6 } .grid { stroke: #374151 } .axis { stroke: #6b7280 }
.s0 { stroke: #60a5fa; fill: #60a5fa } .s1 { stroke: #fbbf24; fill: #fbbf24 } .s2 { stroke: #2dd4bf; fill: #2dd4bf }
.name { stroke: none }
}
"""


@dataclass(frozen=True)
class Series:
    """One line: at each x the runs that were measured, of which the median is drawn and the range shaded."""

    name: str
    points: Sequence[tuple[float, Sequence[float]]]


@dataclass(frozen=True)
class Plot:
    """A title, what the axes say, and at most three lines."""

    title: str
    across: str
    up: str
    series: Sequence[Series]


def svg(plot: Plot) -> str:
    """The picture.

    Raises:
        ValueError: there is nothing to draw, or something that a logarithmic axis cannot show.
    """
    xs = sorted({x for series in plot.series for x, _ in series.points})
    if not xs or xs[0] <= 0:
        raise ValueError(f"{plot.title}: nothing above 0 to draw")
    most = max(value for series in plot.series for _, values in series.points for value in values)
    frame = _Frame(xs[0], xs[-1], _ticks(most))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{escape(plot.title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(plot.title)}</text>',
        *_axes(plot, frame, xs),
        *(part for index, series in enumerate(plot.series) for part in _line(frame, index, series)),
        *_legend(plot.series),
        "</svg>\n",
    ]
    return "\n".join(parts)


class _Frame:
    """Where a value lies in the picture."""

    def __init__(self, least: float, most: float, ticks: Sequence[float]) -> None:
        self.least, self.most, self.ticks = math.log(least), math.log(most), ticks

    def x(self, value: float) -> float:
        part = (math.log(value) - self.least) / ((self.most - self.least) or 1.0)
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - value / self.ticks[-1] * (HEIGHT - TOP - BOTTOM), 1)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least `most`, four to seven of them."""
    step = 10 ** math.floor(math.log10(most or 1.0))
    for part in (5, 2, 1, 0.5, 0.2):
        if most / (step * part) >= 3:
            step *= part
            break
    return [round(step * number, 10) for number in range(math.ceil(most / step) + 1)]


def _axes(plot: Plot, frame: _Frame, xs: Sequence[float]) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in frame.ticks:
        y = frame.y(tick)
        kind = "grid" if tick else "axis"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{_number(tick)}</text>')
    last = -math.inf
    for x in xs:
        at = frame.x(x)
        parts.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        if at - last > 8 * len(_number(x)) + 4:  # labels that would touch are left out
            last = at
            parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{_number(x)}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{escape(plot.across)}</text>')
    parts.append(f'<text x="{LEFT}" y="36">{escape(plot.up)}</text>')
    return parts


def _line(frame: _Frame, index: int, series: Series) -> list[str]:
    ordered = sorted(series.points)
    middles = [(frame.x(x), frame.y(_median(values))) for x, values in ordered]
    upper = [f"{frame.x(x)},{frame.y(max(values))}" for x, values in ordered]
    lower = [f"{frame.x(x)},{frame.y(min(values))}" for x, values in reversed(ordered)]
    kind = f"s{index}"
    parts = [f'<polygon class="{kind} band" points="{" ".join(upper + lower)}"/>'] if len(ordered) > 1 else []
    parts.append(
        f'<polyline class="{kind} line" style="fill: none" points="{" ".join(f"{x},{y}" for x, y in middles)}"/>'
    )
    parts.extend(f'<circle class="{kind} dot" cx="{x}" cy="{y}" r="3"/>' for x, y in middles)
    return parts


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], WIDTH - RIGHT
    for index, each in reversed(list(enumerate(series))):
        parts.append(f'<text class="s{index} name" x="{x}" y="36" text-anchor="end">{escape(each.name)}</text>')
        x -= 7 * len(each.name) + 8
        parts.append(f'<line class="s{index} line" x1="{x - 22}" x2="{x}" y1="32" y2="32"/>')
        x -= 40
    return parts


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    if value >= 10_000:
        return f"{value / 1000:g} k"
    return f"{value:g}"
