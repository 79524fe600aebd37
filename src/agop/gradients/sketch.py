"""Parts of an AGOP that is too large to hold: its diagonal, and its largest eigenpairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.gradients import calling
from agop.gradients.accumulate import accumulator_dtype, check_finite
from agop.gradients.cotangents import Cotangents
from agop.gradients.inputs import Batches, Passes, sweep_inputs
from agop.gradients.spectrum import top_eigenpairs

STORED_BYTES = 2**30
"""Gradients up to this many bytes are kept by `agop_top`, so that one sweep over the data is enough."""


def agop_diagonal(
    f: Callable[..., Any],
    X: Batches,
    *,
    center: bool = False,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
) -> Float[Tensor, " d"]:
    r"""The diagonal of the AGOP without the matrix: by feature, the mean squared gradient of all outputs.

    .. math:: \mathrm{AGOP}_{jj} = \frac1n \sum_{i=1}^n \sum_{o=1}^c
              \left(\frac{\partial f_o(x_i)}{\partial x_j}\right)^2

    O(ncd) operations on top of the c backward passes, O(bd) memory. Parameters and errors as in `agop`.

    Examples
    --------
    >>> W = torch.tensor([[1.0, 2.0]])
    >>> agop_diagonal(lambda x: x @ W.T, torch.ones(5, 2))
    tensor([1., 4.])

    """
    cotangents = Cotangents(outputs, random_state, shared=center)
    total, mean, n = torch.zeros(()), torch.zeros(()), 0

    def consume(passes: Passes, _weight: Tensor | None) -> None:
        nonlocal total, mean, n
        squares, means, rows = torch.zeros(()), list[Tensor](), 0
        for _, gradient in passes:
            gradient = gradient.to(accumulator_dtype(gradient.dtype, dtype))
            rows, squares = gradient.shape[0], squares.to(gradient)
            if center:
                means.append(gradient.mean(0))
                gradient = gradient - means[-1]
            squares = squares + gradient.square().sum(0)
        if center:
            # the parallel-variance formula of Chan et al., entry by entry
            difference = torch.stack(means) - mean.to(squares)
            squares = squares + difference.square().sum(0) * (n * rows / (n + rows))
            mean = mean.to(squares) + difference * (rows / (n + rows))
        total, n = total.to(squares) + squares, n + rows

    sweep_inputs(f, X, cotangents, consume, batch_size=batch_size, output=output, check=check)
    check_finite("f", total)
    return total / (n * sum(cotangents.replicate_sizes))


def agop_top(
    f: Callable[..., Any],
    X: Batches,
    k: int,
    *,
    center: bool = False,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
    tol: float | None = None,
    max_sweeps: int = 30,
    max_memory: int = STORED_BYTES,
) -> tuple[Float[Tensor, " k"], Float[Tensor, "d k"]]:
    r"""The k largest eigenvalues of the AGOP and their eigenvectors, without the (d, d) matrix.

    A block Krylov method with full reorthogonalisation on :math:`V \mapsto \frac1n\sum_{io} g_{io} (g_{io}^T
    V)`. The gradients :math:`g_{io}` are kept if they take less than `max_memory` bytes, else every product
    sweeps over the data again, with nothing larger than a batch of gradients of one output and the basis (d,
    about 10 (k + 10)).

    Parameters
    ----------
    f, X, center, outputs, batch_size, output, dtype, random_state, check
        As in `agop`. A loader that can be read only once is enough where the gradients are kept.
    k
        How many eigenpairs, at most d.
    tol
        Stop when every residual :math:`\|\mathrm{AGOP}\,v - \lambda v\|` is below `tol` times the largest
        eigenvalue. Default: 1e-8 in float64, 1e-5 in float32. (The eigenvalues are then accurate to about the
        square of it.)
    max_sweeps
        Products with the AGOP before giving up; then there is a warning with the residual that was reached.
    max_memory
        Bytes of gradients to keep.

    Returns
    -------
    tuple
        Eigenvalues (k,), descending, and orthonormal eigenvectors (d, k), the largest entry of each positive.

    Raises
    ------
    ValueError
        As in `agop`, or if k exceeds d.

    Notes
    -----
    Musco and Musco 2015 (arXiv 1504.05477) for block Krylov; Wu and Simon 2000 for the thick restart.

    Examples
    --------
    >>> W = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    >>> values, vectors = agop_top(lambda x: x @ W.T, torch.ones(5, 3), k=2)
    >>> [round(value, 4) for value in values.tolist()]
    [9.0, 4.0]

    """
    _checks.integer("k", k, at_least=1)
    _checks.integer("max_sweeps", max_sweeps, at_least=1)
    _checks.integer("max_memory", max_memory, at_least=0)
    options = {"batch_size": batch_size, "output": output, "check": check}
    cotangents = Cotangents(outputs, random_state, shared=center)
    operator = _Gradients(f, X, options, cotangents, center, dtype, max_memory)
    operator.first_sweep()
    d, kind = operator.d, operator.dtype
    if k > d:
        raise _checks.bad_value("k", f"at most {d}, the number of features", f"{k}")
    tol = (1e-8 if kind == torch.float64 else 1e-5) if tol is None else _checks.real("tol", tol, above=0.0)
    found = top_eigenpairs(
        operator.times, d, k, dtype=kind, device=operator.device, tol=tol, max_products=max_sweeps
    )
    if found.residual > tol:
        warnings.warn(
            f"agop_top stopped after {max_sweeps} products at a residual of {found.residual:.1e}, above "
            f"tol={tol:.1e}; raise max_sweeps or tol.",
            stacklevel=2,
        )
    return found.values, found.vectors


class _Full(Exception):
    """The kept gradients have reached their memory."""


class _Gradients:
    """Products with the AGOP: from kept gradients of the first samples, by another sweep over the others."""

    def __init__(
        self,
        f: Callable[..., Any],
        X: Batches,
        options: dict[str, Any],
        cotangents: Cotangents,
        center: bool,
        dtype: torch.dtype | None,
        max_memory: int,
    ) -> None:
        self._f, self._X, self._options, self._cotangents = f, calling.samples_of(X, f), options, cotangents
        self._center, self._wanted, self._max_memory = center, dtype, max_memory
        self._kept: list[Tensor] = []
        self._kept_batches, self._kept_samples, self._all_kept = 0, 0, False
        self._mean: Tensor | None = None
        self.d, self.dtype, self.device = 0, torch.float32, torch.device("cpu")

    def first_sweep(self) -> None:
        """Keep what fits; find d, dtype and, if centred, the mean gradients."""
        sums, n, full = list[Tensor](), 0, False

        def consume(passes: Passes, _weight: Tensor | None) -> None:
            nonlocal n, full
            batch, rows = list[Tensor](), 0
            for number, (_, gradient) in enumerate(passes):
                gradient = gradient.to(accumulator_dtype(gradient.dtype, self._wanted))
                rows, self.d = gradient.shape
                self.dtype, self.device = gradient.dtype, gradient.device
                full = full or _bytes([*self._kept, *batch, gradient]) > self._max_memory
                if full and not self._center:
                    raise _Full
                if not full:
                    batch.append(gradient.clone())
                if self._center:
                    sums.extend([torch.zeros_like(gradient[0])] if len(sums) == number else [])
                    sums[number] += gradient.sum(0)
            n += rows
            if not full:
                self._kept += batch
                self._kept_batches, self._kept_samples = self._kept_batches + 1, self._kept_samples + rows
                self._state = self._cotangents.generator.get_state()

        self._state = self._cotangents.generator.get_state()
        try:
            sweep_inputs(self._f, self._X, self._cotangents, consume, **self._options)
            self._all_kept = not full
        except _Full:
            self._all_kept = False
        self._mean = torch.stack(sums) / n if self._center else None

    def times(self, V: Float[Tensor, "d w"]) -> Float[Tensor, "d w"]:
        """AGOP · V."""
        product, n = torch.zeros_like(V), self._kept_samples

        def add(gradient: Tensor) -> None:
            gradient = gradient.to(V.dtype)
            product.addmm_(gradient.mT, gradient @ V)

        for gradient in self._kept:
            add(gradient)
        if not self._all_kept:
            n += self._sweep_rest(add)
        check_finite("f", product)
        draws = sum(self._cotangents.replicate_sizes)
        product = product / (n * draws)
        return product if self._mean is None else product - self._mean.mT @ (self._mean @ V) / draws

    def _sweep_rest(self, add: Callable[[Tensor], None]) -> int:
        whole = calling.is_whole(self._X)
        rest = calling.some_rows(self._X, slice(self._kept_samples, None)) if whole else self._X
        skip = 0 if whole else self._kept_batches
        n = 0

        def consume(passes: Passes, _weight: Tensor | None) -> None:
            nonlocal n, skip
            if skip:
                # nothing is computed for passes that are not asked for
                skip -= 1
                return
            rows = 0
            for _, gradient in passes:
                rows = gradient.shape[0]
                add(gradient)
            n += rows

        # every sweep has to draw the same combinations
        self._cotangents.generator.set_state(self._state)
        sweep_inputs(self._f, rest, self._cotangents, consume, **{**self._options, "check": False})
        return n


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
