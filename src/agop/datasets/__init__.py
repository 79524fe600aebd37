"""Named data sets: `load` gives flat points with their labels, `Standardiser` scales them.

Names are imported on first use: which data sets there are is known without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop._lazy import on_first_use
from agop.datasets.registry import DATA
from agop.datasets.source import Source

if TYPE_CHECKING:
    from agop.datasets.dataset import Dataset, Raw
    from agop.datasets.loading import DEFAULT_ROOT, available, load
    from agop.datasets.standardise import Standardiser

__all__ = ["DATA", "DEFAULT_ROOT", "Dataset", "Raw", "Source", "Standardiser", "available", "load"]

_HOMES = {
    "Dataset": "dataset", "Raw": "dataset", "DEFAULT_ROOT": "loading", "available": "loading", "load": "loading",
    "Standardiser": "standardise",
}  # fmt: skip


__getattr__ = on_first_use(__name__, _HOMES)
