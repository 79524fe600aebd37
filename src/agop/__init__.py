"""agop: what a model learned to look at, models built from that mechanism alone, and how far each layer collapsed."""

from importlib.metadata import version as _version

__version__ = _version("agop")

# collapse
from agop.collapse.geometry import nc2
from agop.collapse.measurement import Measurement
from agop.collapse.moments import ClassMoments
from agop.collapse.variability import nc1
