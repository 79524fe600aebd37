"""agop: what a model learned to look at, models built from that mechanism alone, and how far each layer collapsed.

Names are imported on first use, so that `import agop` and the command line start without torch.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    # more probes
    from agop.probes.dropout import dropout_penalty
    from agop.probes.redundancy import Redundancy, redundancy

    # estimators
    from agop.kernels import Gaussian, Laplace, ReLUNNGP, ReLUNTK
    from agop.machines import (
        DeepRFMClassifier,
        DeepRFMRegressor,
        RFMClassifier,
        RFMRegressor,
        estimate_memory,
    )

    # several processes
    from agop.launch import launched

    # both worlds
    from agop.profiles import Profile, network_views
    from agop.profiles.profile import profile  # the function: mypy takes the module from agop.profiles
    from agop.view import LayerView

__version__ = _version("agop")

_NAMES = {
    "gradients": "AGOPMoments LayerAGOPs PowerFit agop agop_diagonal agop_top layer_agops nfa nfa_best_power nfm",
    "collapse": "ClassMoments CollapseReport Measurement SpanScatter collapse_report nc1 nc2 nc3 nc4 nc5",
    "probes.dropout": "dropout_penalty",
    "probes.redundancy": "Redundancy redundancy",
    "kernels": "Gaussian Laplace ReLUNNGP ReLUNTK",
    "machines": "DeepRFMClassifier DeepRFMRegressor RFMClassifier RFMRegressor estimate_memory",
    "launch": "launched",
    "profiles": "Profile network_views profile",
    "view": "LayerView",
}
_HOMES = {name: room for room, names in _NAMES.items() for name in names.split()}
_ROOMS = frozenset(home.partition(".")[0] for home in _NAMES) | {
    "datasets", "experiments", "integrations", "linalg", "networks", "report", "theory"
}  # fmt: skip
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name, or a room such as `agop.collapse`, when it is first asked for."""
    if name in _HOMES:
        value = getattr(_import_module(f"agop.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        value = _import_module(f"agop.{name}")
    else:
        raise AttributeError(f"module 'agop' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
