r"""The AGOP of a function: mean over samples of the outer products of its input gradients.

Layout: samples are rows, `X` is (n, d) or (n, d₁, d₂, …), whose feature axes are flattened in C order (the
last axis runs fastest, as `X.flatten(1)` does). The gradients of one output for one batch are a (b, d)
matrix; nothing larger is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.gradients import calling
from agop.gradients.accumulate import accumulator_dtype, add_outer, check_finite, symmetrised
from agop.gradients.cotangents import Cotangents, replicate_error
from agop.gradients.inputs import Batches, Passes, sweep_inputs
from agop.ranks import Ranks


def agop(
    f: Callable[..., Any],
    X: Batches,
    *,
    center: bool = False,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    mask: calling.MaskPick = None,
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
) -> Float[Tensor, "d d"]:
    r"""Average gradient outer product of a function on data.

    .. math:: \mathrm{AGOP}(f, X) = \frac1n \sum_{i=1}^n J_i^T J_i, \qquad
              J_i = \partial f(x_i)/\partial x \in R^{c\times d}

    the mean over samples of a sum over outputs: symmetric, positive semi-definite, (d, d). Its entries have
    the unit of `f` squared over that of `x` squared. With `center=True` the mean gradient of every output is
    subtracted first, :math:`J_i - \bar J`: the covariance of the gradients instead of their second moment.

    One forward and c backward passes per batch; of c outputs, `outputs` may take some or random combinations.

    Parameters
    ----------
    f
        Any callable or module from (b, d) or (b, d₁, d₂, …) to (b, c), (b,) or (b, positions, c). Feature axes, and those of the
        outputs, are flattened in C order.
    X
        Samples along the first axis: a tensor, an array, a table of numbers; a tuple of tensors for a function of several inputs, or a dict
        by argument, where d runs over all floating inputs one after the other. Or a loader of batches (a batch that is a tuple or list
        counts with its first item).
    center
        Subtract the mean gradient of each output.
    outputs
        None: exact, all c outputs. A list of indices: these outputs only. An int s: s random sign
        combinations per sample, an unbiased estimate at s/c of the cost; `AGOPMoments.of(...)` tells its
        standard error. With `center=True` the combinations are the same for all samples (the mean gradient
        needs that), and the estimate is noisier.
    batch_size
        Rows per forward pass; by default what fits into 256 MiB, measured on the first samples. It changes no
        result.
    output
        What to take if `f` returns a tuple, a dict or an object: index, key, attribute name or function. Default: what is called logits, or
        the only floating tensor there is, a loss aside.
    mask
        Which positions of the outputs count, as in `layer_agops`; default: the entry "attention_mask" of a dict.
    dtype
        Accumulate (and return) in this dtype; default: that of the gradients, at least float32.
    random_state
        Seed or CPU generator of the random combinations.
    check
        Look at a few samples first: raise if `f` mixes samples or is not deterministic.

    Raises
    ------
    ValueError
        If a module mixes samples (BatchNorm in training mode), is random (dropout on), or `f` does not depend
        on `X`.

    Notes
    -----
    Beaglehole et al. 2024 (arXiv 2402.13728), equation (1); Radhakrishnan et al. 2024 (arXiv 2212.13881).

    Examples
    --------
    >>> import torch
    >>> W = torch.tensor([[1.0, 2.0]])
    >>> agop(lambda x: x @ W.T, torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
    tensor([[1., 2.],
            [2., 4.]])

    """
    moments = AGOPMoments(center=center, outputs=outputs, dtype=dtype, random_state=random_state)
    return moments.update(f, X, batch_size=batch_size, output=output, mask=mask, check=check).agop


class AGOPMoments:
    """The sufficient statistic of the AGOP: update it with data, add those of other data, read `agop`.

    Merging is exact up to rounding (with `center` by the parallel-covariance formula of Chan, Golub and
    LeVeque), so that batches, streams and processes give what one pass over all data gives: `(a + b).agop`,
    and `all_reduce()` under `torch.distributed`. Parameters as in `agop`.
    """

    def __init__(
        self,
        *,
        center: bool = False,
        outputs: int | Sequence[int] | None = None,
        dtype: torch.dtype | None = None,
        random_state: int | torch.Generator = 0,
    ) -> None:
        self.center = center
        self.dtype = dtype
        self.n_samples = 0
        self._cotangents = Cotangents(outputs, random_state, shared=center)
        self._totals: Tensor | None = None  # (replicates, d, d): sums over samples
        self._mean: Tensor | None = None  # (passes, d): mean gradients, when centred

    @classmethod
    def of(
        cls,
        f: Callable[..., Any],
        X: Batches,
        *,
        center: bool = False,
        outputs: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        output: calling.OutputPick = None,
        mask: calling.MaskPick = None,
        dtype: torch.dtype | None = None,
        random_state: int | torch.Generator = 0,
        check: bool = True,
    ) -> AGOPMoments:
        """The statistic of `f` on `X`."""
        moments = cls(center=center, outputs=outputs, dtype=dtype, random_state=random_state)
        return moments.update(f, X, batch_size=batch_size, output=output, mask=mask, check=check)

    def update(
        self,
        f: Callable[..., Any],
        X: Batches,
        *,
        batch_size: int | None = None,
        output: calling.OutputPick = None,
        mask: calling.MaskPick = None,
        check: bool = True,
    ) -> AGOPMoments:
        """Add the samples `X` (a tensor, several, or a loader) and return the statistic itself."""
        short: dict[int, AGOPMoments] = {}
        weights: dict[int, Tensor] = {}

        def consume(passes: Passes, weight: Tensor | None) -> None:
            if weight is None:
                self._add(passes)
                return
            key = weight.data_ptr()
            short.setdefault(key, self._empty())._add(passes)
            weights[key] = weight

        sweep_inputs(
            f,
            X,
            self._cotangents,
            consume,
            batch_size=batch_size,
            output=output,
            check=check,
            shorten=True,
            mask=mask,
        )
        for key, moments in short.items():
            self._absorb(moments._through(weights[key]))
        return self

    def _add(self, passes: Passes) -> None:
        means, sizes, rows = list[Tensor](), list[int](), 0
        for replicate, gradient in passes:
            if self._totals is None:
                d, kind = gradient.shape[1], accumulator_dtype(gradient.dtype, self.dtype)
                replicates = len(self._cotangents.replicate_sizes)
                self._totals = torch.zeros(replicates, d, d, dtype=kind, device=gradient.device)
            gradient = gradient.to(self._totals.dtype)
            rows = gradient.shape[0]
            if self.center:
                means.append(gradient.mean(0))
                sizes.append(replicate)
                gradient = gradient - means[-1]
            add_outer(self._totals[replicate], gradient)
        if self.center:
            self._merge_means(torch.stack(means), rows)
        self.n_samples += rows

    def _merge_means(self, mean: Float[Tensor, "p d"], n: int) -> None:
        """Chan et al.: add n m / (n + m) times the outer product of the means' difference."""
        assert self._totals is not None
        if self._mean is None:
            self._mean = mean
            return
        both, replicates = self.n_samples + n, self._totals.shape[0]
        difference = mean - self._mean
        scaled = difference * math.sqrt(self.n_samples * n / both)
        for replicate in range(replicates):
            add_outer(self._totals[replicate], scaled[replicate::replicates])
        self._mean = self._mean + difference * (n / both)

    def _empty(self) -> AGOPMoments:
        other = AGOPMoments(center=self.center, dtype=self.dtype)
        other._cotangents = self._cotangents
        return other

    def _through(self, weight: Float[Tensor, "k d"]) -> AGOPMoments:
        """The statistic of the gradients g W, if this is that of the gradients g."""
        assert self._totals is not None
        other, weight = self._empty(), weight.to(self._totals.dtype)
        other.n_samples = self.n_samples
        with torch.autocast(weight.device.type, enabled=False):
            other._totals = weight.mT @ symmetrised(self._totals) @ weight
            other._mean = None if self._mean is None else self._mean @ weight
        return other

    def _absorb(self, other: AGOPMoments) -> None:
        """Add the samples of another statistic to this one."""
        if other._totals is None:
            return
        if self._totals is None:
            self._totals, self._mean, self.n_samples = other._totals.clone(), other._mean, other.n_samples
            return
        self._totals += other._totals
        if other._mean is not None:
            self._merge_means(other._mean, other.n_samples)
        self.n_samples += other.n_samples

    def __add__(self, other: AGOPMoments) -> AGOPMoments:
        """The statistic of both data sets together."""
        if not isinstance(other, AGOPMoments):
            return NotImplemented
        self._check_mergeable(other)
        merged = self._empty()
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _check_mergeable(self, other: AGOPMoments) -> None:
        mine, theirs = self._cotangents, other._cotangents
        same = self.center == other.center and mine.outputs == theirs.outputs
        if same and self.center and mine._signs is not None and theirs._signs is not None:
            same = bool(torch.equal(mine._signs, theirs._signs))
        if not same:
            raise _checks.bad_value(
                "other",
                f"a statistic with center={self.center}, outputs={mine.outputs} and the same random_state",
                f"center={other.center}, outputs={theirs.outputs}",
            )

    def all_reduce(self, group: Any = None) -> AGOPMoments:
        """Merge the statistics of all processes of a `torch.distributed` group (see `Ranks.of`), in place on each of them."""
        ranks = Ranks.of(group)
        assert self._totals is not None, "update before all_reduce"
        mine = self.n_samples
        count = ranks.sum_(torch.tensor(float(mine), dtype=torch.float64, device=self._totals.device))
        if self._mean is not None:
            mean = ranks.sum_(self._mean * (mine / float(count)))
            scaled = (self._mean - mean) * math.sqrt(mine)
            replicates = self._totals.shape[0]
            for replicate in range(replicates):
                add_outer(self._totals[replicate], scaled[replicate::replicates])
            self._mean = mean
        ranks.sum_(self._totals)
        self.n_samples = int(count)
        return self

    @property
    def agop(self) -> Float[Tensor, "d d"]:
        """The AGOP of all samples so far."""
        totals, draws = self._sums()
        check_finite("f", totals.diagonal(dim1=1, dim2=2))
        return symmetrised(totals.sum(0)) / (self.n_samples * draws)

    @property
    def standard_error(self) -> float:
        r"""Standard error of a random estimate, relative: Frobenius norm of the error over that of `agop`.

        Zero when exact; NaN with `outputs=1`, from which it cannot be told. Estimated from the scatter of
        independent groups of the random combinations. It is the error of the random outputs only, not that of
        having n samples.
        """
        if not self._cotangents.random:
            return 0.0
        totals, _ = self._sums()
        sizes = self._cotangents.replicate_sizes
        return replicate_error(
            [symmetrised(total) / (self.n_samples * s) for total, s in zip(totals, sizes)], sizes
        )

    def _sums(self) -> tuple[Tensor, int]:
        if self._totals is None:
            raise _checks.bad_value("AGOPMoments", "at least one sample", "none", "call update first")
        return self._totals, sum(self._cotangents.replicate_sizes)
