"""Which function computes which kind of unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agop.experiments import network_units, stacks, theory
from agop.experiments.units import Unit

WORK: dict[str, Callable[[Unit, Path], list[str]]] = {
    "deep-rfm": stacks.run_stack,
    "control": stacks.run_control,
    "network": network_units.run_network,
    "linearised": theory.run_linearised,
    "reach": theory.run_reach,
    "kernel": theory.run_kernel,
}
"""A unit's tables are written into the folder; what comes back are notes."""
