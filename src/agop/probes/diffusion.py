"""Diffusion spectral entropy and mutual information of a stage's rows."""

from __future__ import annotations

import math
from typing import Any

from agop.collapse.diffusion import diffusion_mutual_information, diffusion_spectral_entropy
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe

_SOURCE = "Liao, Liu et al. 2024 (arXiv 2312.04823)"


def _entropy(e: Evidence, **options: Any) -> Measurement:
    return diffusion_spectral_entropy(e.rows, **options)


def _information(e: Evidence, **options: Any) -> Measurement:
    return diffusion_mutual_information(e.rows, e.labels, **options)


def _log_classes(e: Evidence) -> float:
    """What the entropy of fully collapsed classes is."""
    return math.log2(max(1, len(e.labels.unique())))


DSE = Probe(
    name="dse",
    label="diffusion spectral entropy (bits)",
    measure=_entropy,
    needs=("rows", "labels"),
    meaning="bits of structure in the rows at the scale σ; log2 C where C classes have collapsed",
    towards=_log_classes,
    range="[0, log2 n]",
    formula="−Σ p_k log2 p_k, p_k = |λ_k|^t / Σ |λ|^t of the random walk on exp(−‖h_i − h_j‖² / (2σ²))",
    source=_SOURCE,
    invariant=("order", "labels", "shift", "rotation", "batches"),
)

DSMI = Probe(
    name="dsmi",
    label="diffusion spectral information (bits)",
    measure=_information,
    needs=("rows", "labels"),
    meaning="bits that the labels tell of the rows at the scale σ; about log2 C where C classes have collapsed",
    towards=_log_classes,
    range="[−log2 n, log2 n]",
    formula="Σ_c (n_c/n) [mean DSE of random sets of size n_c − DSE of class c]",
    source=_SOURCE,
    invariant=("labels", "shift", "rotation", "batches"),
)
