"""Collapse measures: hostile features, labels, weights, logits, moments, and options."""

from __future__ import annotations

import torch

import agop
from agop import ClassMoments, SpanScatter, collapse
from tests.hostile.table import MATRIX_CASES, Subject, options, table_tests

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(12) % 3
X = torch.randn(12, 4, generator=GENERATOR, dtype=torch.float64) + 3 * torch.nn.functional.one_hot(LABELS, 4)
W = torch.randn(3, 4, generator=GENERATOR, dtype=torch.float64)
LOGITS = X @ W.T
OOD = torch.randn(7, 4, generator=GENERATOR, dtype=torch.float64)
M = ClassMoments.of(X, LABELS, scatter="full")

LABEL_CASES = {
    "None": lambda good: None,
    "a list": lambda good: good.tolist(),
    "texts": lambda good: ["a", "b"] * 6,
    "an array": lambda good: good.numpy().copy(),
    "floats": lambda good: good.double(),
    "booleans": lambda good: good > 0,
    "complex": lambda good: good.to(torch.complex64),
    "two axes": lambda good: good[:, None],
    "a number": lambda good: torch.tensor(1),
    "one less": lambda good: good[:-1],
    "none": lambda good: good[:0],
    "negative": lambda good: good - 1,
    "missing, as -100": lambda good: torch.where(good == 1, -100, good),
    "gaps": lambda good: good * 1000,
    "enormous": lambda good: torch.where(good == 1, 2**40, good),
    "one class": lambda good: torch.zeros_like(good),
    "as many classes as samples": lambda good: torch.arange(len(good)),
    "bytes": lambda good: good.to(torch.uint8),
    "strided": lambda good: torch.stack([good, good], 1)[:, 0],
}
MEASURES = {
    "nc1": agop.nc1, "nc2": agop.nc2, "cdnv": collapse.cdnv, "cdnv_pairs": collapse.cdnv_pairs,
    "effective_rank": collapse.effective_rank, "equiangularity": collapse.equiangularity, "equinorm": collapse.equinorm,
    "means_effective_rank": collapse.means_effective_rank, "means_rank": collapse.means_rank, "simplex_angle": collapse.simplex_angle,
    "gnc2": agop.gnc2, "trace_between_share": collapse.trace_between_share, "trace_within_share": collapse.trace_within_share,
}  # fmt: skip
MOMENT_CASES = {
    "None": lambda good: None,
    "a tensor": lambda good: good.means,
    "a text": lambda good: "moments",
    "no samples": lambda good: ClassMoments.empty(3, 4, scatter="full"),
    "one class": lambda good: ClassMoments.of(X, 0 * LABELS, scatter="full"),
    "a class without samples": lambda good: ClassMoments.of(X, LABELS, 5, scatter="full"),
    "one sample a class": lambda good: ClassMoments.of(X[:3], LABELS[:3], scatter="full"),
    "one sample": lambda good: ClassMoments.of(X[:1], LABELS[:1], scatter="full"),
    "one feature": lambda good: ClassMoments.of(X[:, :1], LABELS, scatter="full"),
    "equal means": lambda good: ClassMoments.of(torch.ones(12, 4), LABELS, scatter="full"),
    "collapsed": lambda good: ClassMoments.of(good.means[LABELS], LABELS, scatter="full"),
    "huge": lambda good: ClassMoments.of(X * 1e30, LABELS, scatter="full"),
    "denormal": lambda good: ClassMoments.of(X * 1e-310, LABELS, scatter="full"),
    "far from zero": lambda good: ClassMoments.of(X + 1e9, LABELS, scatter="full"),
}

VECTOR_CASES = {
    name: case
    for name, case in MATRIX_CASES.items()
    if not name.endswith(("row", "rows", "column", "columns", "less"))
}
VECTOR_CASES |= {
    "two axes": lambda good: good[None],
    "empty": lambda good: good[:0],
    "an entry less": lambda good: good[:-1],
}


def agree(moments, features, decisions, labels):
    return agop.CentreAgreement.of(moments, features, decisions, labels).measurement("class")


SUBJECTS = [
    Subject("ClassMoments.of", "features", lambda v: ClassMoments.of(v, LABELS), X),
    Subject(
        "ClassMoments.of", "features, full scatter", lambda v: ClassMoments.of(v, LABELS, scatter="full"), X
    ),
    Subject("ClassMoments.of", "labels", lambda v: ClassMoments.of(X, v).means, LABELS, LABEL_CASES),
    Subject("SpanScatter.of", "features", lambda v: SpanScatter.of(M, v, LABELS).total, X),
    Subject("SpanScatter.of", "labels", lambda v: SpanScatter.of(M, X, v).total, LABELS, LABEL_CASES),
    Subject("collapse_report", "features", lambda v: agop.collapse_report(v, LABELS).to_dict(), X),
    Subject("collapse_report", "labels", lambda v: agop.collapse_report(X, v).to_dict(), LABELS, LABEL_CASES),
    Subject("collapse_report", "weight", lambda v: agop.collapse_report(X, LABELS, weight=v).to_dict(), W),
    Subject(
        "collapse_report", "logits", lambda v: agop.collapse_report(X, LABELS, logits=v).to_dict(), LOGITS
    ),
    Subject("collapse_report", "ood", lambda v: agop.collapse_report(X, LABELS, ood=v).to_dict(), OOD),
    Subject("nc3", "weight", lambda v: agop.nc3(M, v), W),
    Subject("nc4", "features", lambda v: agop.nc4(v, LOGITS, M), X),
    Subject("nc4", "logits", lambda v: agop.nc4(X, v, M), LOGITS),
    Subject("nc5", "ood_mean", lambda v: agop.nc5(M, v), OOD.mean(0), VECTOR_CASES),
    Subject("nc3", "m", lambda v: agop.nc3(v, W), M, MOMENT_CASES),
    Subject("nc4", "m", lambda v: agop.nc4(X, LOGITS, v), M, MOMENT_CASES),
    Subject("nc5", "m", lambda v: agop.nc5(v, OOD.mean(0)), M, MOMENT_CASES),
    Subject("frame_distance", "gram", lambda v: agop.frame_distance(v), W @ W.mT),
    Subject("frame_distance", "target", lambda v: agop.frame_distance(W @ W.mT, v), W @ W.mT),
    Subject("diffusion_spectral_entropy", "Z", lambda v: agop.diffusion_spectral_entropy(v), X),
    Subject("diffusion_mutual_information", "Z", lambda v: agop.diffusion_mutual_information(v, LABELS), X),
    Subject(
        "diffusion_mutual_information",
        "y",
        lambda v: agop.diffusion_mutual_information(X, v),
        LABELS,
        LABEL_CASES,
    ),
    Subject("gnc2", "kernel", lambda v: agop.gnc2(M, v), "log", options("rbf", None, 3)),
    Subject("gnc2", "statistic", lambda v: agop.gnc2(M, statistic=v), "mean", options("median", None)),
    Subject(
        "gnc2", "s", lambda v: agop.gnc2(M, "riesz", s=v), 1.0, options(0, "x", None, float("nan"), 1e300, -2)
    ),
    Subject(
        "cdnv",
        "exponent",
        lambda v: collapse.cdnv(M, exponent=v),
        2.0,
        options(0, -1, "x", None, float("inf"), 1.5),
    ),
    Subject("unc3", "weight", lambda v: agop.unc3(M, v), W),
    Subject("unc3", "m", lambda v: agop.unc3(v, W), M, MOMENT_CASES),
    Subject("duality_cosines", "weight", lambda v: agop.duality_cosines(M, v), W, nan=True),
    Subject("duality_cosines", "m", lambda v: agop.duality_cosines(v, W), M, MOMENT_CASES, nan=True),
    Subject("weight_norm_spread", "weight", lambda v: agop.weight_norm_spread(M, v), W),
    Subject("weight_norm_spread", "m", lambda v: agop.weight_norm_spread(v, W), M, MOMENT_CASES),
    Subject("CentreAgreement.of", "features", lambda v: agree(M, v, LABELS, LABELS), X),
    Subject("CentreAgreement.of", "decisions", lambda v: agree(M, X, v, LABELS), LABELS, LABEL_CASES),
    Subject("CentreAgreement.of", "labels", lambda v: agree(M, X, LABELS, v), LABELS, LABEL_CASES),
    Subject("CentreAgreement.of", "moments", lambda v: agree(v, X, LABELS, LABELS), M, MOMENT_CASES),
    Subject(
        "ClassMoments.with_counts",
        "at_least",
        lambda v: M.with_counts(v),
        1,
        options(-1, "x", None, 1.5, 3, 99),
    ),
    *(
        Subject(name, "m", function, M, MOMENT_CASES, nan=name == "cdnv_pairs")
        for name, function in MEASURES.items()
    ),
]

test_rows = table_tests("collapse", SUBJECTS)
