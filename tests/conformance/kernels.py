"""What every kernel must satisfy: subclass `KernelConformance`, name the kernel, inherit the suite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agop.kernels import Kernel
from agop.kernels.agop import kernel_agop
from agop.kernels.distance import Points
from tests.oracles import kernels as oracle
from tests.tolerances import IDENTITY, SINGLE, relative_error


def data(n: int, d: int, c: int, seed: int = 0, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=dtype), torch.randn(n, c, generator=g, dtype=dtype)


class KernelConformance:
    """Values, gradients and AGOP against the oracle, autograd and properties."""

    name: str
    parameters: dict[str, float]

    @property
    def kernel(self) -> Kernel:
        raise TypeError("a conformance class names its kernel")

    def test_value_equals_the_textbook_formula(self):
        X, _ = data(17, 5, 1)
        Z, _ = data(11, 5, 1, seed=1)
        assert (
            relative_error(self.kernel(X, Z), oracle.kernel_values(self.name, self.parameters, X, Z))
            < IDENTITY
        )

    def test_gradient_equals_autograd_away_from_the_centres(self):
        X, _ = data(9, 5, 1)
        Z, A = data(13, 5, 3, seed=1)

        def f(x):
            return oracle.kernel_values(self.name, self.parameters, x[None], Z)[0] @ A

        expected = torch.stack([torch.autograd.functional.jacobian(f, x) for x in X])
        assert relative_error(self.kernel.gradient(X, Z, A), expected) < IDENTITY

    def test_gradient_at_a_centre_leaves_that_centre_out(self):
        Z, A = data(6, 4, 2)
        Z[3] = Z[1]
        expected = oracle.machine_jacobians(self.name, self.parameters, Z, Z, A)
        actual = self.kernel.gradient(Z, Z, A)
        assert torch.isfinite(actual).all()
        assert relative_error(actual, expected) < IDENTITY

    def test_one_point_has_gradient_exactly_zero_at_itself(self):
        Z, A = data(1, 4, 2)
        assert (self.kernel.gradient(Z, Z, A) == 0).all()

    def test_duplicates_are_at_distance_zero_also_far_from_the_origin(self):
        Z, _ = data(6, 4, 1)
        Z = Z + 1e6
        Z[4] = Z[0]
        gram = self.kernel(Z)
        assert gram[4, 0] == 1
        assert (gram.diagonal() == 1).all()

    @pytest.mark.parametrize("route", ["direct", "gram"])
    @pytest.mark.parametrize("with_cells", [False, True])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_agop_equals_the_oracle(self, route, with_cells, weighted):
        Z, A = data(23, 6, 3)
        Z[7] = Z[2]
        w = torch.rand(23, generator=torch.Generator().manual_seed(2), dtype=Z.dtype) if weighted else None
        cells = torch.arange(23) % 4 if with_cells else None
        actual = kernel_agop(self.kernel, Points(Z), A, cells=cells, sample_weight=w, route=route).matrix
        expected = oracle.machine_agop(self.name, self.parameters, Z, A, w)
        assert relative_error(actual, expected) < IDENTITY

    @pytest.mark.parametrize("route", ["direct", "gram"])
    def test_agop_in_single_precision_survives_nearly_coincident_points(self, route):
        g = torch.Generator().manual_seed(3)
        means = torch.randn(3, 8, generator=g, dtype=torch.float64)
        cells = torch.arange(60) % 3
        Z = (means[cells] + 1e-5 * torch.randn(60, 8, generator=g, dtype=torch.float64)).float()
        A = torch.randn(60, 2, generator=g)
        actual = kernel_agop(self.kernel, Points(Z), A, cells=cells, route=route).matrix
        expected = oracle.machine_agop(self.name, self.parameters, Z.double(), A.double())
        assert relative_error(actual, expected) < SINGLE

    # the suite is inherited, so one test function runs on several classes by design
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(n=st.integers(1, 12), d=st.integers(1, 5), c=st.integers(1, 3), seed=st.integers(0, 99))
    def test_agop_is_psd_and_turns_with_the_data(self, n, d, c, seed):
        Z, A = data(n, d, c, seed)
        rotation = torch.linalg.qr(
            torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=Z.dtype)
        )[0]
        plain = kernel_agop(self.kernel, Points(Z), A).matrix
        turned = kernel_agop(self.kernel, Points(Z @ rotation + 3.0), A).matrix
        scale = plain.norm().clamp_min(1e-12)
        assert (turned - rotation.T @ plain @ rotation).norm() <= 1e-8 * scale
        assert torch.linalg.eigvalsh(plain).min() >= -IDENTITY * scale

    def test_gram_is_symmetric_positive_definite_and_keeps_its_input(self):
        X, _ = data(20, 5, 1)
        before = X.clone()
        gram = self.kernel(X)
        assert torch.equal(X, before)
        assert relative_error(gram, gram.mT) < IDENTITY
        assert torch.linalg.eigvalsh(gram).min() > 0

    def test_single_precision_in_single_precision_out(self):
        X, A = data(10, 4, 2, dtype=torch.float32)
        assert self.kernel(X).dtype == torch.float32
        assert self.kernel.gradient(X, X, A).dtype == torch.float32
        assert kernel_agop(self.kernel, Points(X, dtype=torch.float32), A).matrix.dtype == torch.float32
