"""Ticks of logarithmic axes: always enough labels to read a value off, however few powers of ten an axis has."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_ENOUGH = 3


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


def label_log_axis(ax: Axes) -> bool:
    """Make the y axis logarithmic, gaps where it has no positive value; False where it is too short and stays linear."""
    ax.set_yscale("log", nonpositive="mask")
    subs = mantissas(*ax.get_ylim())
    if not subs:
        ax.set_yscale("linear")
        return False
    if len(subs) > 1:
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=99))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    return True


def _text(value: float) -> str:
    """A number as people write it, or as a power of ten where that has too many zeros."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10.0**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(mantissa - 1) < 1e-6 else f"${mantissa:g} \\times {power}$"
