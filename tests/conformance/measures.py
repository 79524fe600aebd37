"""What every measure of collapse must satisfy: subclass `MeasureConformance`, give the registry entry, inherit the suite."""

from __future__ import annotations

import math

import pytest
import torch

from agop import ClassMoments, Measurement
from agop.collapse import INPUTS, Measure
from tests.tolerances import MERGE

CLASSES, D = 5, 12


def blobs(n: int = 90, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around five means, of unequal counts."""
    g = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(CLASSES, D, generator=g, dtype=torch.float64)
    labels = torch.cat([torch.arange(CLASSES), torch.randint(CLASSES, (n - CLASSES,), generator=g)])
    return means[labels] + torch.randn(n, D, generator=g, dtype=torch.float64), labels


class MeasureConformance:
    """For measures that need class moments only."""

    @property
    def measure(self) -> Measure:
        raise TypeError("a conformance class names its measure")

    def value(self, x, y, n_classes=CLASSES):
        return self.measure(ClassMoments.of(x, y, n_classes))

    def test_the_entry_is_complete(self):
        m = self.measure
        assert {"moments"} <= m.needs <= set(INPUTS)
        assert m.direction in ("lower", "higher", "to 1")
        assert all((m.name, m.label, m.range, m.formula, m.source))

    def test_it_measures_a_defined_number_under_its_name(self):
        value = self.value(*blobs())
        assert isinstance(value, Measurement)
        assert value.name == self.measure.name
        assert value.defined
        assert math.isfinite(value)

    def test_rotation_relabelling_order_and_batches_do_not_matter(self):
        x, y = blobs()
        expected = self.value(x, y)
        g = torch.Generator().manual_seed(1)
        rotation = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=x.dtype))[0]
        order, names = torch.randperm(len(x), generator=g), torch.randperm(CLASSES, generator=g)
        assert self.value(x @ rotation, y) == pytest.approx(expected, rel=1e-9)
        assert self.value(x[order], y[order]) == pytest.approx(expected, rel=1e-9)
        assert self.value(x, names[y]) == pytest.approx(expected, rel=1e-9)
        parts = (ClassMoments.of(x[rows], y[rows], CLASSES) for rows in torch.arange(len(x)).split(17))
        merged = sum(parts, ClassMoments.empty(CLASSES, D))
        assert self.measure(merged) == pytest.approx(expected, rel=MERGE)

    def test_scale_does_not_matter_and_single_precision_agrees(self):
        x, y = blobs()
        assert self.value(1e3 * x, y) == pytest.approx(self.value(x, y), rel=1e-9)
        assert self.value(x.float(), y) == pytest.approx(self.value(x, y), rel=1e-4)

    @pytest.mark.parametrize(
        ("x", "y"),
        [
            (torch.zeros(0, D), torch.zeros(0, dtype=torch.long)),
            (blobs()[0], torch.zeros(90, dtype=torch.long)),
            (torch.ones(6, D), torch.arange(6) % 3),
        ],
        ids=["no samples", "one class", "equal means"],
    )
    def test_what_is_undefined_says_why(self, x, y):
        value = self.value(x, y)
        assert math.isnan(value)
        assert value.undefined_because
