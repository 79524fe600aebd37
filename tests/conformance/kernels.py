"""What every kernel must satisfy: subclass `RadialConformance` or `AngularConformance`, name the kernel, inherit the suite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agop.kernels import Kernel
from agop.kernels.agop import kernel_agop
from tests.oracles import kernels as oracle
from tests.tolerances import IDENTITY, SINGLE, relative_error


def data(n: int, d: int, c: int, seed: int = 0, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=dtype), torch.randn(n, c, generator=g, dtype=dtype)


class KernelConformance:
    """Values, gradients and AGOP against the oracle, autograd and properties."""

    name: str
    parameters: dict[str, float]
    routes: tuple[str, ...]
    shift: float

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

    @pytest.mark.parametrize("with_cells", [False, True])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("centered", [False, True])
    def test_agop_equals_the_oracle(self, with_cells, weighted, centered):
        Z, A = data(23, 6, 3)
        Z[7] = Z[2]
        w = torch.rand(23, generator=torch.Generator().manual_seed(2), dtype=Z.dtype) if weighted else None
        cells = torch.arange(23) % 4 if with_cells else None
        expected = oracle.machine_agop(self.name, self.parameters, Z, A, w, centered)
        options = {"cells": cells, "sample_weight": w, "center": centered}
        for route in (None, *self.routes):
            points = self.kernel.points(Z)
            actual = kernel_agop(self.kernel, points, A, route=route, **options).matrix
            assert relative_error(actual, expected) < IDENTITY

    def test_agop_in_single_precision_survives_nearly_coincident_points(self):
        g = torch.Generator().manual_seed(3)
        means = torch.randn(3, 8, generator=g, dtype=torch.float64)
        cells = torch.arange(60) % 3
        Z = (means[cells] + 1e-5 * torch.randn(60, 8, generator=g, dtype=torch.float64)).float()
        A = torch.randn(60, 2, generator=g)
        expected = oracle.machine_agop(self.name, self.parameters, Z.double(), A.double())
        for route in self.routes:
            actual = kernel_agop(self.kernel, self.kernel.points(Z), A, cells=cells, route=route).matrix
            assert relative_error(actual, expected) < SINGLE

    # the suite is inherited, so one test function runs on several classes by design
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(n=st.integers(1, 12), d=st.integers(1, 5), c=st.integers(1, 3), seed=st.integers(0, 99))
    def test_agop_is_psd_and_turns_with_the_data(self, n, d, c, seed):
        Z, A = data(n, d, c, seed)
        rotation = torch.linalg.qr(
            torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=Z.dtype)
        )[0]
        plain = kernel_agop(self.kernel, self.kernel.points(Z), A).matrix
        turned = kernel_agop(self.kernel, self.kernel.points(Z @ rotation + self.shift), A).matrix
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
        assert (
            kernel_agop(self.kernel, self.kernel.points(X, dtype=torch.float32), A).matrix.dtype
            == torch.float32
        )

    def test_diagonal(self):
        X, _ = data(7, 4, 1)
        assert (
            relative_error(self.kernel.diagonal(self.kernel.points(X), X.dtype), self.kernel(X).diagonal())
            < IDENTITY
        )


class RadialConformance(KernelConformance):
    """A function of the distance."""

    routes = ("direct", "gram")
    shift = 3.0

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


class NormConformance(KernelConformance):
    """A function of a p-norm of the difference: columns are not mixed, and may be permuted and reflected, not turned."""

    routes = ("direct",)
    shift = 3.0

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(n=st.integers(1, 12), d=st.integers(1, 5), c=st.integers(1, 3), seed=st.integers(0, 99))
    def test_agop_is_psd_and_turns_with_the_data(self, n, d, c, seed):
        Z, A = data(n, d, c, seed)
        g = torch.Generator().manual_seed(seed)
        turn = torch.eye(d, dtype=Z.dtype)[torch.randperm(d, generator=g)]
        turn = turn * torch.randn(d, generator=g, dtype=Z.dtype).sign()
        plain = kernel_agop(self.kernel, self.kernel.points(Z), A).matrix
        turned = kernel_agop(self.kernel, self.kernel.points(Z @ turn + self.shift), A).matrix
        scale = plain.norm().clamp_min(1e-12)
        assert (turned - turn.T @ plain @ turn).norm() <= 1e-8 * scale
        assert torch.linalg.eigvalsh(plain).min() >= -IDENTITY * scale

    def test_equal_columns_contribute_nothing(self):
        Z, A = data(8, 3, 2)
        Z[:, 1] = Z[0, 1]
        gradient = self.kernel.gradient(Z, Z, A)
        assert torch.isfinite(gradient).all()
        assert (gradient[:, :, 1] == 0).all()

    def test_gradients_are_central_differences(self):
        X, _ = data(5, 3, 1)
        Z, A = data(9, 3, 2, seed=1)
        step = 1e-6 * torch.eye(3, dtype=X.dtype)
        for column in range(3):
            up, down = (self.kernel(X + sign * step[column], Z) @ A for sign in (1, -1))
            assert relative_error(self.kernel.gradient(X, Z, A)[:, :, column], (up - down) / 2e-6) < 1e-6

    def test_gram_route_is_refused(self):
        Z, A = data(6, 4, 2)
        with pytest.raises(
            ValueError, match="route: expected 'direct' for a kernel of single columns, got 'gram'"
        ):
            kernel_agop(self.kernel, self.kernel.points(Z), A, route="gram")


class AngularConformance(KernelConformance):
    """A function of the angle, times both norms."""

    routes = ("direct",)
    shift = 0.0

    def test_it_is_linear_along_rays(self):
        X, _ = data(8, 4, 1)
        Z, _ = data(5, 4, 1, seed=1)
        scale = torch.linspace(0.1, 20, 8, dtype=X.dtype)[:, None]
        assert relative_error(self.kernel(scale * X, Z), scale * self.kernel(X, Z)) < IDENTITY

    def test_a_gradient_along_a_ray_is_the_value_also_where_rows_share_it(self):
        Z, A = data(6, 4, 2)
        Z[4] = 3 * Z[0]
        along = torch.einsum("ncd,nd->nc", self.kernel.gradient(Z, Z, A), Z)
        assert relative_error(along, self.kernel(Z) @ A) < IDENTITY  # Euler's theorem

    def test_zero_rows_have_value_and_gradient_zero(self):
        Z, A = data(6, 4, 2)
        Z[2] = 0
        assert (self.kernel(Z)[2] == 0).all()
        assert (self.kernel.gradient(Z, Z, A)[2] == 0).all()
        rest = torch.arange(6) != 2
        assert (
            relative_error(
                self.kernel.gradient(Z, Z, A)[rest], self.kernel.gradient(Z[rest], Z[rest], A[rest])
            )
            < IDENTITY
        )
        agop = kernel_agop(self.kernel, self.kernel.points(Z), A).matrix
        without = kernel_agop(self.kernel, self.kernel.points(Z[rest]), A[rest]).matrix
        assert relative_error(6 * agop, 5 * without) < IDENTITY

    def test_opposite_points_have_finite_gradients(self):
        Z = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        gradient = self.kernel.gradient(Z, Z, torch.eye(3, dtype=Z.dtype))
        assert torch.isfinite(gradient).all()
        assert relative_error(gradient[0, 1], self.kernel(Z)[0, 1] * Z[0]) < IDENTITY

    def test_gram_route_is_refused(self):
        Z, A = data(6, 4, 2)
        with pytest.raises(ValueError, match="route: expected 'direct' for a kernel of angles, got 'gram'"):
            kernel_agop(self.kernel, self.kernel.points(Z), A, route="gram")
