"""agop: what a model learned to look at, models built from that mechanism alone, and how far each layer collapsed."""

from importlib.metadata import version as _version

__version__ = _version("agop")

# gradients
from agop.gradients import (
    AGOPMoments,
    LayerAGOPs,
    PowerFit,
    agop,
    agop_diagonal,
    agop_top,
    layer_agops,
    nfa,
    nfa_best_power,
    nfm,
)

# collapse
from agop.collapse import (
    ClassMoments,
    CollapseReport,
    Measurement,
    SpanScatter,
    collapse_report,
    nc1,
    nc2,
    nc3,
    nc4,
    nc5,
)

# estimators
from agop.kernels import Gaussian, Laplace
from agop.machines import (
    DeepRFMClassifier,
    DeepRFMRegressor,
    RFMClassifier,
    RFMRegressor,
    estimate_memory,
)

# both worlds
from agop.profiles import Profile, network_views, profile
from agop.view import LayerView
