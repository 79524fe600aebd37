r"""Diffusion spectral entropy and mutual information: over how many directions a random walk on the points spreads.

Data layout: points are rows Z (n, d) of any floating dtype and device, labels (n,) integers of any kind. The walk jumps
between points with the affinities :math:`G_{ij} = \exp(-\|z_i - z_j\|^2 / (2 \sigma^2))`; all is computed in float64 (on the
CPU for MPS, which has none).

Source: Liao, Liu, Christensen, Tong, Huguet, Wolf, Nickel, Adelstein, Krishnaswamy 2024 (CISS; arXiv 2312.04823), and version
1.1 of the authors' package. Its first version left out the eigenvalue 1; the published one, as here, keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from agop._checks import bad_type, bad_value, floating, integer, same_length
from agop.collapse._walk import Bandwidth, Walk, generator_of, order
from agop.collapse.measurement import Measurement


@torch.no_grad()
def diffusion_spectral_entropy(
    Z: Float[Tensor, "n d"],
    sigma: Bandwidth = 10.0,
    t: float | int = 1,
    *,
    fraction: float | int = 1,
    max_points: int | None = 1000,
    random_state: int | torch.Generator = 0,
) -> Measurement:
    r"""Entropy in bits of the spectrum of the random walk on the points, in :math:`[0, \log_2 n]`.

    .. math:: -\sum_i p_i \log_2 p_i, \qquad p_i = \frac{|\lambda_i|^t}{\sum_j |\lambda_j|^t}, \qquad
              \lambda = \mathrm{eig}\left(D^{-1/2} G D^{-1/2}\right), \quad D = \mathrm{diag}(G 1),

    a sum over all n eigenvalues. They are those of the ordinary random walk :math:`D^{-1} G`, to which the matrix is similar. (The
    authors speak of the walk on the doubly normalised kernel :math:`D^{-1/2} G D^{-1/2}`, normalised by rows once more; its spectrum
    is another. What is computed here is what their code computes.)

    k tight, far groups have the entropy :math:`\log_2 k`, so features that collapsed to C class means have :math:`\log_2 C`. Points much
    closer than σ have 0; points much farther apart have :math:`\log_2 n`, in ``details["ceiling"]``. It grows with n: compare equal
    numbers of points.

    Parameters
    ----------
    Z
        Finite, n >= 1, d >= 1.
    sigma
        σ > 0 in the units of Z. A fixed σ, the authors' 10, makes layers of different scale incomparable. Two that follow the scale are
        *not* in the paper, and the definition on the result says so: ``"median"``, the (lower) median distance over pairs of points that
        are measured, and ``"rms"``, the root of their mean squared distance. The σ that was used is in ``details``.
    t
        Steps of the walk, > 0: more steps leave fewer directions.
    fraction
        > 0: σ is that part of the median or of the rms distance. With all of it, classes that collapsed are neighbours of each other: of
        C balanced classes at equal distances the median is that distance, and the entropy is not :math:`\log_2 C` but that of the
        eigenvalues 1 and, C − 1 times, :math:`(1 - q) / (1 + (C - 1) q)` with :math:`q = e^{-1/2}`. A quarter of the rms distance
        tells them apart (:math:`q < 4 \cdot 10^{-4}`). Must be 1 where σ is a number.
    max_points
        A random subsample of so many rows where there are more (``details["of"]``); None takes all. n² numbers, n³ operations.
    random_state
        Of the subsample: an integer >= 0 or a torch generator.

    Returns
    -------
    Measurement
        Undefined for ``"median"`` where at least half of the pairs, but not all points, coincide. If all coincide it is 0 for every σ.
        ``"rms"`` is always defined.

    Raises
    ------
    ValueError, TypeError
        If Z is not a finite (n, d) floating tensor with entries, σ, t or `fraction` is not > 0, a fraction is asked of a number, or
        `max_points` is below 1 or more than fit into memory.

    Examples
    --------
    >>> import torch
    >>> centres = 1000 * torch.eye(5, dtype=torch.float64)
    >>> diffusion_spectral_entropy(centres.repeat(20, 1))
    dse[bits, sigma=10, t=1] = 2.32193
    >>> diffusion_spectral_entropy(centres.repeat(20, 1), "median").details["sigma"]  # doctest: +ELLIPSIS
    1414.21...
    >>> diffusion_spectral_entropy(centres.repeat(20, 1) / 1e6, "rms", fraction=0.25)  # doctest: +ELLIPSIS
    dse[bits, sigma=0.25 rms (not the paper's), t=1] = 2.321...
    """
    walk = Walk.on(Z, sigma, t, fraction, max_points, generator_of(random_state))
    if walk.undefined_because is not None:
        return Measurement.undefined("dse", walk.definition, walk.undefined_because, walk.details)
    details = {**walk.details, "ceiling": math.log2(walk.n)}
    (value,) = walk.entropies(torch.arange(walk.n)[None])
    return Measurement(value, "dse", walk.definition, details=details)


@torch.no_grad()
def diffusion_mutual_information(
    Z: Float[Tensor, "n d"],
    y: Integer[Tensor, " n"],
    sigma: Bandwidth = 10.0,
    t: float | int = 1,
    *,
    fraction: float | int = 1,
    max_points: int | None = 1000,
    random_state: int | torch.Generator = 0,
    draws: int = 5,
) -> Measurement:
    r"""What the labels tell about the place of a point, in bits: entropy of random subsets less that of the classes.

    .. math:: \sum_c \frac{n_c}{n} \left( \frac{1}{R} \sum_{r=1}^{R} \mathrm{DSE}(A_{r, n_c}) - \mathrm{DSE}(Z \mid y = c) \right),

    a mean over samples, where :math:`A_{r, m}` are the first m rows of the r-th of R random orders of all rows, drawn without
    replacement. Subsets are as large as the class they are compared with because the entropy (`diffusion_spectral_entropy`) grows with
    the number of points. Classes of equal size meet the same subsets, as in the authors' code, so renaming classes changes nothing.

    Collapse to C far class means gives :math:`\log_2 C` if every subset meets every class, and less where small subsets miss some. For
    labels that are independent of Z it is 0 in expectation, hence sometimes below 0; it is exactly 0 where all labels are equal. A class
    of one sample has the entropy 0.

    Parameters
    ----------
    Z, sigma, t, fraction, max_points
        As in `diffusion_spectral_entropy`; one σ and one subsample serve all classes and subsets.
    y
        Integers of any kind: they need not start at 0 nor follow each other, and may be negative.
    random_state
        Of the subsample and of the orders.
    draws
        R, the number of random orders.

    Returns
    -------
    Measurement
        ``details`` has the two terms, ``"entropy"`` of subsets and ``"conditional_entropy"``, the number of classes and which of them have
        one sample.

    Raises
    ------
    ValueError, TypeError
        As `diffusion_spectral_entropy`, or if y is not one integer per row, or `draws` is below 1.

    Examples
    --------
    >>> import torch
    >>> y = torch.arange(200) % 4
    >>> centres = 1000 * torch.eye(4, dtype=torch.float64)
    >>> diffusion_mutual_information(centres[y], y)
    dsmi[bits, sigma=10, t=1] = 2
    """
    y = _checked_labels(y)
    draws = integer("draws", draws, at_least=1)
    generator = generator_of(random_state)
    floating("Z", Z, ndim=2, finite=False)
    same_length("Z", len(Z), "y", len(y))
    walk = Walk.on(Z, sigma, t, fraction, max_points, generator)
    classes, position, counts = y[walk.rows].unique(return_inverse=True, return_counts=True)
    details = {**walk.details, "draws": draws, "classes": len(classes)}
    if bool((counts == 1).any()):
        details["single_sample_classes"] = classes[counts == 1].tolist()
    if walk.undefined_because is not None:
        return Measurement.undefined("dsmi", walk.definition, walk.undefined_because, details)
    if len(classes) == 1:
        return Measurement(0.0, "dsmi", walk.definition, details=details)
    matched = _mean_entropy_by_size(walk, draws, generator)
    details |= {"entropy": 0.0, "conditional_entropy": 0.0}
    for c, size in enumerate(counts.tolist()):
        details["entropy"] += size / walk.n * matched(size)
        (own,) = walk.entropies((position == c).nonzero().mT)
        details["conditional_entropy"] += size / walk.n * own
    value = details["entropy"] - details["conditional_entropy"]
    return Measurement(value, "dsmi", walk.definition, details=details)


def _mean_entropy_by_size(walk: Walk, draws: int, generator: torch.Generator) -> Callable[[int], float]:
    """The mean entropy of random subsets as a function of their size; the subsets of a draw are nested."""
    orders = torch.stack([order(walk.n, generator) for _ in range(draws)])

    @cache
    def mean(size: int) -> float:
        return math.fsum(walk.entropies(orders[:, :size])) / draws

    return mean


def _checked_labels(y: Integer[Tensor, " n"]) -> Int[Tensor, " n"]:
    """On the CPU, as int64."""
    expected = "integer labels of shape (n,)"
    if not isinstance(y, Tensor):
        raise bad_type("y", expected, type(y).__name__, "convert them with torch.as_tensor")
    if y.dtype == torch.bool or y.is_floating_point() or y.is_complex():
        raise bad_type("y", expected, f"dtype {y.dtype}", "convert them with .long()")
    if y.ndim != 1:
        raise bad_value("y", expected, f"shape {tuple(y.shape)}", "take .argmax(1) of one-hot targets")
    return y.detach().cpu().to(torch.int64)
