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
        LayerCost,
        PatchFilters,
        PowerFit,
        agop,
        agop_diagonal,
        agop_top,
        conv_nfa,
        estimate_layer_agops,
        layer_agops,
        mode_agops,
        mode_nfa,
        nfa,
        nfa_best_power,
        nfm,
        patch_agop,
        patch_energy,
        patch_filters,
    )

    # collapse
    from agop.collapse import (
        CentreAgreement,
        ClassMoments,
        Measurement,
        SpanScatter,
        diffusion_mutual_information,
        diffusion_spectral_entropy,
        duality_cosines,
        frame_distance,
        gnc2,
        nc1,
        nc2,
        nc3,
        nc4,
        nc5,
        unc3,
        weight_norm_spread,
    )

    # more probes
    from agop.probes.complexity import lz_complexity
    from agop.probes.dropout import dropout_penalty
    from agop.probes.localisation import inverse_participation_ratio
    from agop.probes.ricci import ricci_coefficients
    from agop.probes.redundancy import Redundancy, redundancy

    # estimators
    from agop.kernels import L1, Gaussian, HierarchicalNNGP, HierarchicalNTK, Laplace, Lpq, ReLUNNGP, ReLUNTK
    from agop.machines import (
        AgopDisplay,
        ConvRFMClassifier,
        ConvRFMRegressor,
        DeepConvRFMClassifier,
        DeepRFMClassifier,
        DeepRFMRegressor,
        PolynomialClassifier,
        PolynomialRegressor,
        RFMClassifier,
        RFMClassifierCV,
        RFMRegressor,
        RFMRegressorCV,
        SearchDisplay,
        estimate_memory,
        leave_one_out,
    )

    # networks on tensors
    from agop.networks.rank_r import RankR
    from agop.networks.rank_r_classifier import RankRClassifier
    from agop.networks.unbounded_depth import UnboundedDepthNet

    # concepts in a model
    from agop.concepts import ConceptDirections, ConceptSearch, concept_directions, steer

    # tables
    from agop.tables import TableEncoder, TableModel, fit_table, load, read_table

    # rows in blocks
    from agop.blocks import Block, Blocks, open_blocks

    # several processes
    from agop.launch import launched

    # theory
    from agop.theory import DeepLinearCollapse, deep_linear_collapse

    # in training
    from agop.integrations.torchmetrics import NeuralCollapse

    # both worlds
    from agop.evidence import Evidence, Need
    from agop.probe import Curve, Probe
    from agop.probes import PROBES
    from agop.profiles.fact import LayerFACTs, fact
    from agop.profiles import (
        CollapseReport,
        MeasureOptions,
        Network,
        Profile,
        Trajectory,
        collapse_report,
        network_views,
    )
    from agop.profiles.profile import profile  # the function: mypy takes the module from agop.profiles
    from agop.view import LayerView

__version__ = _version("agop")

_NAMES = {
    "gradients": (
        "AGOPMoments LayerAGOPs LayerCost PatchFilters PowerFit agop agop_diagonal agop_top conv_nfa estimate_layer_agops layer_agops "
        "mode_agops mode_nfa nfa nfa_best_power nfm patch_agop patch_energy patch_filters"
    ),
    "collapse": (
        "CentreAgreement ClassMoments Measurement SpanScatter diffusion_mutual_information diffusion_spectral_entropy "
        "duality_cosines frame_distance gnc2 nc1 nc2 nc3 nc4 nc5 unc3 weight_norm_spread"
    ),
    "probes.complexity": "lz_complexity",
    "probes.dropout": "dropout_penalty",
    "probes.localisation": "inverse_participation_ratio",
    "probes.ricci": "ricci_coefficients",
    "probes.redundancy": "Redundancy redundancy",
    "kernels": "Gaussian HierarchicalNNGP HierarchicalNTK L1 Laplace Lpq ReLUNNGP ReLUNTK",
    "machines": (
        "AgopDisplay ConvRFMClassifier ConvRFMRegressor DeepConvRFMClassifier DeepRFMClassifier DeepRFMRegressor "
        "PolynomialClassifier PolynomialRegressor RFMClassifier RFMClassifierCV RFMRegressor RFMRegressorCV SearchDisplay "
        "estimate_memory leave_one_out"
    ),
    "networks.rank_r": "RankR",
    "networks.rank_r_classifier": "RankRClassifier",
    "networks.unbounded_depth": "UnboundedDepthNet",
    "concepts": "ConceptDirections ConceptSearch concept_directions steer",
    "tables": "TableEncoder TableModel fit_table load read_table",
    "blocks": "Block Blocks open_blocks",
    "launch": "launched",
    "evidence": "Evidence Need",
    "probe": "Curve Probe",
    "probes": "PROBES",
    "profiles": "CollapseReport MeasureOptions Network Profile Trajectory collapse_report network_views profile",
    "profiles.fact": "LayerFACTs fact",
    "theory": "DeepLinearCollapse deep_linear_collapse",
    "view": "LayerView",
    "integrations.torchmetrics": "NeuralCollapse",
}
_HOMES = {name: room for room, names in _NAMES.items() for name in names.split()}
_ROOMS = frozenset(home.partition(".")[0] for home in _NAMES) | {
    "datasets", "experiments", "integrations", "linalg", "networks", "report"
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
