"""Named data sets: `load` gives flat points with their labels, `Standardiser` scales them."""

from agop.datasets.dataset import Dataset
from agop.datasets.registry import DEFAULT_ROOT, Source, available, load
from agop.datasets.standardise import Standardiser

__all__ = ["DEFAULT_ROOT", "Dataset", "Source", "Standardiser", "available", "load"]
