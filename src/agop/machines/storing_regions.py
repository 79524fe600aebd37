"""Regions and their models as one header and tensors, and back: each model is what its own file would hold, under its number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agop.machines.regions import RegionalMachine, RegionTree
from agop.machines.stored import Damaged, check_shapes, numbered, of_type, restored_members

Parts = tuple[dict[str, Any], dict[str, Tensor]]
_NODES = ("directions", "thresholds", "widths")
_MOST_REGIONS = 10_000


def regions_parts(estimator: Any, described: Callable[[Any], Parts]) -> Parts:
    """Header and tensors of what an RFM in regions has beyond others; `described` gives those of a model."""
    machine: RegionalMachine = estimator.machine_
    members: list[dict[str, Any]] = []
    tensors = {f"tree.{name}": getattr(machine.tree, name) for name in _NODES}
    tensors["tree.agop"] = estimator.agop_
    for place, model in enumerate(machine.models):
        header, own = described(model)
        members.append(header)
        tensors |= numbered(place, own)
    header = {
        "children": [list(pair) for pair in machine.tree.children],
        "masses": list(machine.masses),
        "members": members,
    }
    return {"regions": header}, tensors


def restore_regions(
    estimator: Any,
    header: dict[str, Any],
    tensors: dict[str, Tensor],
    restored: Callable[[dict[str, Any], dict[str, Tensor]], Any],
) -> None:
    """Give a constructed RFM its regions and their models back; `restored` makes a model of a header and its tensors."""
    stored = of_type(header, "regions", dict)
    members, masses = of_type(stored, "members", list), of_type(stored, "masses", list)
    children = _children(of_type(stored, "children", list))
    count = len(children) + 1
    if not len(members) == len(masses) == count <= _MOST_REGIONS:
        raise Damaged("regions and models that do not belong together")
    if not all(type(m) is float and 0 < m <= 1 for m in masses) or not math.isclose(sum(masses), 1):
        raise Damaged("shares of regions that are none")
    if any(isinstance(member, dict) and "regions" in member for member in members):
        raise Damaged("regions in a region")
    tree = {name: tensors.pop(f"tree.{name}") for name in (*_NODES, "agop") if f"tree.{name}" in tensors}
    models = restored_members(header, members, tensors, type(estimator).__name__, restored)
    if len({(model.n_features_in_, len(model.target_means_), len(model.agop_)) for model in models}) > 1:
        raise Damaged("models of other columns or outputs")
    if models[0].n_features_in_ != estimator.n_features_in_:
        raise Damaged("models of other columns")
    d, k = len(models[0].agop_), len(children)
    check_shapes(tree, {"directions": (k, d), "thresholds": (k,), "widths": (k,), "agop": (d, d)})
    dtype, device = getattr(torch, estimator.dtype_), models[0].agop_.device
    if any(v.dtype != dtype or not bool(torch.isfinite(v).all()) for v in tree.values()):
        raise Damaged(f"a tree that is not made of finite numbers in {estimator.dtype_}")
    if not bool((tree["widths"] > 0).all()):
        raise Damaged("borders without a width")
    directions, thresholds, widths = (tree[name].to(device) for name in _NODES)
    estimator.agop_ = tree["agop"].to(device)
    estimator.machine_ = RegionalMachine(
        RegionTree(directions, thresholds, widths, children), tuple(models), tuple(masses)
    )


def _children(stored: list[Any]) -> tuple[tuple[int, int], ...]:
    """The pairs of a tree: each node but the root, and each region, is below one node that comes before it."""
    pairs = [(pair[0], pair[1]) for pair in stored if isinstance(pair, list) and len(pair) == 2]
    if len(pairs) != len(stored) or not all(type(child) is int for pair in pairs for child in pair):
        raise Damaged("a tree that is none")
    k = len(pairs)
    below = sorted(child for pair in pairs for child in pair)
    expected = [*range(-1 - k, 0), *range(1, k)] if k else []
    if below != expected or any(0 <= child <= node for node, pair in enumerate(pairs) for child in pair):
        raise Damaged("a tree that is none")
    return tuple(pairs)
