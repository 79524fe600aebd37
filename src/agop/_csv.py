"""Tables of text with every digit of their numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

_EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
"""Releases of pandas before 3 lose the last digit of numbers unless they are asked not to."""


def read_csv(source: Any, **options: Any) -> pd.DataFrame:
    """`pandas.read_csv`, whose numbers are the nearest floating-point numbers to what stands there, in every release."""
    return pd.read_csv(source, **_EXACT, **options)
