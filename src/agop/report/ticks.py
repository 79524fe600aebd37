"""Ticks of logarithmic axes: always enough labels to read a value off, however few powers of ten an axis has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from agop.profiles.shown import Shown
from agop.report import style

_ENOUGH = 3
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DECADES = 12
"""An axis has no more on a side of zero: what is smaller is rounding."""


def mantissas(low: float, high: float) -> tuple[float, ...]:
    """The multiples of powers of ten to label between two positive numbers: 1; 1, 2, 5; 1 to 9; none if that is not enough.

    >>> mantissas(1e-5, 1), mantissas(2e-3, 7e-2), mantissas(0.66, 0.75)
    ((1.0,), (1.0, 2.0, 5.0), ())
    """
    choices = ((1.0,), (1.0, 2.0, 5.0), tuple(float(digit) for digit in range(1, 10)))
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for subs in choices:
        if sum(low <= sub * 10.0**exponent <= high for sub in subs for exponent in exponents) >= _ENOUGH:
            return subs
    return ()


def linear_within(values: Iterable[float]) -> float | None:
    """The power of ten within which an axis is linear if it is logarithmic beyond; None if all its values are positive, or none is defined.

    >>> linear_within([0.0, 0.03, -2.0]), linear_within([0.5, 4.0]), linear_within([0.0, float("nan")])
    (0.01, None, None)
    """
    finite = [abs(value) for value in values if math.isfinite(value) and value]
    if not finite or not any(value <= 0 for value in values):
        return None
    lowest = max(math.log10(min(finite)), math.log10(max(finite)) - _DECADES)
    return 10.0 ** math.floor(lowest + 1e-9)


def label_log_axis(ax: Axes, values: Iterable[float]) -> str:
    """Make the y axis logarithmic, about zero linear where some of the values are not positive; returns what its label must say of that.

    "" where the values leave nothing to be logarithmic about, or the axis is too short for enough labels: it stays linear.
    """
    values = [float(value) for value in values]
    within = linear_within(values)
    if within is not None:
        return _label_about_zero(ax, values, within)
    if not any(value > 0 for value in values):
        return ""
    ax.set_yscale("log", nonpositive="mask")
    subs = mantissas(*ax.get_ylim())
    if not subs:
        ax.set_yscale("linear")
        return ""
    if len(subs) > 1:
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=99))
    ax.yaxis.set_major_formatter(FuncFormatter(_tick))
    ax.yaxis.set_minor_formatter(NullFormatter())
    return " (log scale)"


def _label_about_zero(ax: Axes, values: Sequence[float], within: float) -> str:
    ax.set_yscale("symlog", linthresh=within)
    ax.yaxis.set_major_locator(FixedLocator(powers_about_zero(values, within)))
    ax.yaxis.set_major_formatter(FuncFormatter(_tick))
    ax.yaxis.set_minor_locator(NullLocator())
    return "\n(log scale, linear about 0)"


def powers_about_zero(values: Sequence[float], within: float) -> list[float]:
    """Zero and powers of ten from `within` on, on the sides of zero where there are values: about eight on a side at most.

    >>> powers_about_zero([-0.5, 0.0, 30.0], 0.1)
    [-1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0]
    """

    def side(extreme: float) -> list[float]:
        if not extreme > 0:
            return []
        first, last = round(math.log10(within)), math.ceil(math.log10(extreme) - 1e-9)
        return [10.0**power for power in range(first, max(first, last) + 1, 1 + max(0, last - first) // 8)]

    finite = [value for value in values if math.isfinite(value)]
    below = side(-min(finite))
    return [-power for power in reversed(below)] + [0.0] + side(max(finite))


def draw_axis(ax: Axes, look: Shown, values: Iterable[float]) -> None:
    """Scale and label the y axis as a measure asks, and draw a thin line where collapse lies if that is a number."""
    values = [float(value) for value in values]
    scaled = label_log_axis(ax, values) if look.scale == "log" else ""
    ax.set_ylabel(style.axis_title(look) + scaled)
    if look.goal is not None and not (ax.get_yscale() == "log" and look.goal <= 0):
        ax.axhline(look.goal, color=style.GOAL, linestyle=":", linewidth=1, zorder=1)


def _tick(value: float, place: int | None) -> str:
    return _text(value)


def _text(value: float) -> str:
    """A number as people write it, or as a power of ten where that has too many zeros."""
    if value <= 0:
        return "0" if value == 0 else f"−{_text(-value)}"
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10.0**exponent
    power = "10" + str(exponent).translate(_RAISED)
    return power if abs(mantissa - 1) < 1e-6 else f"{mantissa:g}×{power}"
