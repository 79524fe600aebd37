"""From a matrix M to coordinates in which its metric is Euclidean, and from a fit to the next M."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels import Kernel, named
from agop.linalg.psd import psd_power
from agop.linalg.rowspace import numerical_row_space
from agop.machines.chain import Chain, rescaled
from agop.machines.fact import feature_matrix, machine_fact
from agop.machines.kernel_ridge import MachineFit
from agop.machines.samples import Samples
from agop.ranks import current

if TYPE_CHECKING:
    from agop.machines.rfm import _RFM


@dataclass(frozen=True)
class MetricRule:
    """How a recursion uses M and makes the next one: the parameters of RFM that concern M."""

    power: float
    scale: str
    diagonal: bool
    update: str
    center_gradients: bool

    @classmethod
    def of(cls, model: _RFM) -> MetricRule:
        """The rule of an estimator's parameters."""
        return cls(
            float(model.power),
            model.scale,
            bool(model.diagonal),
            model.update,
            bool(model.center_gradients),
        )

    def check(self, kernel: Kernel, n_iter: int) -> None:
        """Whether this kernel can have a metric learned, and of this kind."""
        if n_iter and not kernel.learns:
            name = named.kernel_name(kernel)
            expected = f"0 for kernel={name!r}, for which no metric is learned ({kernel.no_metric_because})"
            raise _checks.bad_value("n_iter", expected, f"{n_iter}", "set n_iter=0, or another kernel")
        if n_iter and not kernel.mixes_columns and not self.diagonal:
            expected = f"True for kernel={named.kernel_name(kernel)!r}, which sums over single columns"
            raise _checks.bad_value("diagonal", expected, "False", "set diagonal=True, or kernel='lpq'")

    def coordinates(self, chain: Chain, samples: Samples) -> tuple[Float[Tensor, "d r"], dict[str, Any]]:
        """The map to coordinates in which the metric of the next fit is Euclidean, and what was left out of them."""
        if not chain.iteration:
            return chain.matrix.clone(), {"dimensions": len(chain.matrix), "left_out": 0.0}
        if not bool((chain.matrix - chain.matrix.diagonal().diag()).any()):
            return self._weighted_columns(chain, samples)
        raised = psd_power(chain.matrix, self.power)
        if chain.kernel.rotation_invariant:
            coordinates, left_out = numerical_row_space(
                samples.X, raised, samples.labels, centered=chain.kernel.shift_invariant
            )
        else:
            coordinates, left_out = raised.matrix, 0.0
        facts: dict[str, Any] = {"rank": raised.rank, "clipped": raised.clipped}
        facts |= {"dimensions": coordinates.shape[1], "left_out": left_out}
        # an eigenbasis is a matter of rounding, which differs between unlike machines
        return current().from_main(coordinates.to(samples.X.dtype)), facts

    def following(
        self, fit: MachineFit, samples: Samples, coordinates: Float[Tensor, "d r"], chain: Chain
    ) -> Float[Tensor, "d d"]:
        """The next M, with respect to the estimator's inputs: made from a fit in these coordinates by `update`, rescaled."""
        M = (
            self._from_agop(fit, coordinates)
            if self.update == "agop"
            else self._from_fact(fit, samples, coordinates, chain)
        )
        if M is None:
            fit.report["notes"].append("the predictor is constant at every training point: M stays as it was")
            return chain.matrix
        return rescaled(M, self.scale)

    def _weighted_columns(
        self, chain: Chain, samples: Samples
    ) -> tuple[Float[Tensor, "d r"], dict[str, Any]]:
        """The map of a diagonal M, which mixes nothing and leaves out columns of weight zero only."""
        weights = chain.matrix.diagonal()
        kept = (weights > 0).nonzero()[:, 0]
        coordinates = torch.diag(weights.pow(self.power))[:, kept]
        facts: dict[str, Any] = {"rank": len(kept), "clipped": len(weights) - len(kept)}
        facts |= {"dimensions": len(kept), "left_out": 0.0}
        return current().from_main(coordinates.to(samples.X.dtype)), facts

    def _from_agop(self, fit: MachineFit, coordinates: Float[Tensor, "d r"]) -> Float[Tensor, "d d"] | None:
        """The machine's own AGOP, pulled back through z = Bᵀx; None if it is zero."""
        assert fit.agop is not None
        if not bool(fit.agop.diagonal().max() > 0):
            return None
        coordinates = coordinates.to(fit.agop.dtype)
        M = coordinates @ fit.agop @ coordinates.mT
        return torch.diag(M.diagonal()) if self.diagonal else M

    def _from_fact(
        self, fit: MachineFit, samples: Samples, coordinates: Float[Tensor, "d r"], chain: Chain
    ) -> Float[Tensor, "d d"] | None:
        """What FACT says of the metric; None if it is zero."""
        F = machine_fact(
            fit.machine,
            samples.X,
            coordinates,
            weight=samples.weight,
            center=self.center_gradients,
            computed=chain.iteration > 0,
        )
        largest = float(F.abs().max())
        if largest == 0:
            return None
        # squares of tiny entries would vanish, and every scale but "none" divides by the size anyway
        unit, B = 1.0 if self.scale == "none" else largest, coordinates.double()
        return current().from_main(feature_matrix(F / unit, B @ B.mT, self.update, diagonal=self.diagonal))
