"""All collapse measures against the textbook route (d × d scatter matrices and pinv), and for a thousand classes."""

from __future__ import annotations

import torch
from torch import Tensor

from agop import ClassMoments, collapse_report
from agop.collapse import measures_for
from benchmarks._harness import measure, record


def blobs(n: int, d: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 features around random class means, labels, and a classifier."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    means = torch.randn(classes, d, generator=generator)
    features = means[labels] + 0.5 * torch.randn(n, d, generator=generator)
    return features, labels, means + 0.1 * torch.randn(classes, d, generator=generator)


def textbook_nc1(features: Tensor, labels: Tensor, classes: int) -> float:
    """tr(Σ_W Σ_B⁺)/C by the book: both (d, d) covariances and the pseudo-inverse, float64."""
    rows = features.double()
    means = torch.stack([rows[labels == c].mean(0) for c in range(classes)])
    deviations = rows - means[labels]
    within = deviations.T @ deviations / len(rows)
    centred = means - means.mean(0)
    between = centred.T @ centred / classes
    return float(torch.trace(within @ torch.linalg.pinv(between, hermitian=True))) / classes


def against_textbook() -> dict[str, object]:
    features, labels, weight = blobs(10_000, 2_048, 10)
    bias, ood = torch.zeros(10), torch.randn(2_048, generator=torch.Generator().manual_seed(1))
    inputs = {"weight": weight, "bias": bias, "ood": ood}
    ours = measure(lambda: collapse_report(features, labels, **inputs), repeats=7)
    theirs = measure(lambda: textbook_nc1(features, labels, 10), repeats=3)
    value = float(collapse_report(features, labels, **inputs)["nc1_pinv"])
    expected = textbook_nc1(features, labels, 10)
    ratio = theirs.minimum / ours.minimum  # of the least disturbed calls
    error = abs(value / expected - 1)
    print(
        f"n=10,000 d=2,048 C=10: textbook NC1 {theirs.minimum:.2f} s, every measure {ours.minimum * 1e3:.0f} ms, {ratio:.0f}×"
    )
    print(f"  tr(Σ_W Σ_B⁺)/C relative difference {error:.1e}")
    return {
        "textbook": theirs.as_dict(),
        "all_measures": ours.as_dict(),
        "ratio": ratio,
        "relative_difference": error,
    }


def thousand_classes() -> dict[str, object]:
    features, labels, weight = blobs(10_000, 1_024, 1_000)
    bias, ood = torch.zeros(1_000), torch.randn(1_024, generator=torch.Generator().manual_seed(1))
    moments = ClassMoments.of(features, labels)

    def from_moments() -> None:
        fresh = moments.with_classes(1_000)  # forgets the spectrum that moments keep
        for one in measures_for({"moments", "weight", "ood"}):
            one(fresh, weight=weight, ood=ood)

    times = {
        "moments": measure(lambda: ClassMoments.of(features, labels)),
        "measures_of_moments": measure(from_moments),
        "report_without_second_pass": measure(
            lambda: collapse_report(
                features,
                labels,
                weight=weight,
                ood=ood,
                measures=[m.name for m in measures_for({"moments", "weight", "ood"})],
            )
        ),
        "report_with_pinv_and_nc4": measure(
            lambda: collapse_report(features, labels, weight=weight, bias=bias, ood=ood)
        ),
    }
    for name, timing in times.items():
        print(
            f"n=10,000 d=1,024 C=1,000: {name} {timing.median * 1e3:.0f} ms (from {timing.minimum * 1e3:.0f})"
        )
    return {name: timing.as_dict() for name, timing in times.items()}


def main() -> None:
    record(
        "collapse_measures", {"against_textbook": against_textbook(), "thousand_classes": thousand_classes()}
    )


if __name__ == "__main__":
    main()
