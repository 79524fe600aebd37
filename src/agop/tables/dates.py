"""Dates as numbers: days since 1970, and the parts of a date that come again: month, day of the month, day of the week, hour."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import pandas as pd
from pandas.tseries.api import guess_datetime_format

PARTS = ("days", "month", "day", "weekday", "hour")
ISO = "ISO8601"
_LOOKS = re.compile(r"\s*(\d{1,4}[-/. ]|[A-Za-z]{3,9}\.? \d|\d{1,2} [A-Za-z]{3,9}|\d{8}T)")
_SAMPLE = 1000


def date_format(texts: pd.Series) -> tuple[str, str] | None:
    """The format in which all of these texts are dates, and what has to be told of it ("" for nothing); None if there is none.

    ISO 8601 first; else as pandas guesses from the first text, with the month first if that suits all, else with the day first.
    """
    values = texts.astype(str).str.strip()
    sample = values.iloc[:: max(1, len(values) // _SAMPLE)]
    if not len(sample) or not all(_LOOKS.match(value) for value in sample):
        return None
    first = str(values.iloc[0])
    formats = [ISO]
    for day_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            guess = guess_datetime_format(first, dayfirst=day_first)
        if guess and ("%Y" in guess or "%y" in guess) and guess not in formats:
            formats.append(guess)
    suitable = [
        form
        for form in formats
        if not parsed(sample, form).isna().any() and not parsed(values, form).isna().any()
    ]
    if not suitable:
        return None
    told = ""
    if suitable[0] != ISO and len(suitable) > 1:
        told = f"month and day could be either; read as {suitable[0]}"
    return suitable[0], told


def parsed(texts: pd.Series, form: str) -> pd.Series:
    """Texts as moments (UTC where they name an offset); NaT where they are no dates of this format."""
    made = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
    return made.dt.tz_localize(None)


def moments(column: pd.Series) -> pd.Series:
    """A column of dates of any of pandas' kinds as moments without a zone."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return pd.to_datetime(column, errors="coerce")


def parts(when: pd.Series, names: Sequence[str] = PARTS) -> dict[str, pd.Series]:
    """Parts of moments as numbers, NaN where there is no moment."""
    made = {
        "days": lambda: (when - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1),
        "month": lambda: when.dt.month,
        "day": lambda: when.dt.day,
        "weekday": lambda: when.dt.day_of_week,
        "hour": lambda: when.dt.hour + when.dt.minute / 60 + when.dt.second / 3600,
    }
    return {name: made[name]().astype("float64") for name in names}


def varying(when: pd.Series) -> tuple[str, ...]:
    """The parts in which these moments differ."""
    return tuple(name for name, values in parts(when).items() if values.nunique() > 1)
