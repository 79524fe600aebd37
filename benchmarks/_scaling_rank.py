"""What every rank of `benchmarks.scaling` runs; rank 0 prints the seconds as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch

from agop.collapse import ClassMoments
from agop.kernels import Laplace
from agop.kernels.agop import kernel_agop
from agop.kernels.operator import KernelOperator
from agop.launch import launched
from agop.machines import RFMRegressor
from agop.ranks import ALONE, Ranks, sharing
from benchmarks._harness import PAPER

D, C = 50, 10
SECONDS = 60
"""Of measuring, for each work: at least 5 pairs, at most 15."""
N = {
    "ceiling": 3_000,
    "product": 20_000,
    "cg": 16_000,
    "direct": 6_000,
    "gram": 5_000,
    "moments": 4_000_000,
}


def problem(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and coefficients (or targets), the same on every rank."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, D, generator=generator), torch.randn(n, C, generator=generator)


def ceiling(ranks: Ranks) -> Callable[[], object]:
    """A matrix product by rows and no message: what this machine gives two busy processes at best."""
    a = torch.randn(N["ceiling"], N["ceiling"], generator=torch.Generator().manual_seed(0))
    rows = ranks.share(len(a))
    return lambda: a[rows] @ a


def product(ranks: Ranks) -> Callable[[], object]:
    X, V = problem(N["product"])
    kernel = Laplace(10.0)
    points = kernel.points(X, dtype=torch.float32)
    operator = KernelOperator(kernel, X, points, torch.float32, ranks=ranks)
    return lambda: operator @ V


def cg(ranks: Ranks) -> Callable[[], object]:
    X, _ = problem(N["cg"])
    y = torch.sin(X[:, :C]) * X[:, C : 2 * C]
    options = {"bandwidth": 10.0, "ridge": 1e-3, "n_iter": 0, "random_state": 0}
    return lambda: RFMRegressor(solver="cg", **options, **PAPER).fit(X, y)


def agop(route: str) -> Callable[[Ranks], Callable[[], object]]:
    def prepared(ranks: Ranks) -> Callable[[], object]:
        X, A = problem(N[route])
        weights = torch.randn(len(X), len(X)) if route == "gram" else None  # a fit has them already
        if weights is not None:
            weights = weights + weights.T
        points = Laplace(10.0).points(X)
        return lambda: kernel_agop(Laplace(10.0), points, A, route=route, weights=weights, ranks=ranks)

    return prepared


def moments(ranks: Ranks) -> Callable[[], object]:
    X, _ = problem(N["moments"])
    labels = torch.arange(len(X)) % C
    rows = ranks.share(len(X))
    return lambda: ClassMoments.of(X[rows], labels[rows], C).all_reduce(ranks)


WORK = {
    "ceiling": ceiling,
    "product": product,
    "cg": cg,
    "direct": agop("direct"),
    "gram": agop("gram"),
    "moments": moments,
}


def once(ranks: Ranks, call: Callable[[], object]) -> dict[str, float]:
    """Wall seconds, and processor seconds of the busiest rank."""
    ranks.barrier()
    start, used = time.perf_counter(), time.process_time()
    call()
    used = time.process_time() - used
    ranks.barrier()  # the slowest rank ends it
    wall = time.perf_counter() - start
    return {"wall_s": wall, "busy_s": max(map(float, ranks.gather(repr(used))))}


def pairs(
    ranks: Ranks, prepare: Callable[[Ranks], Callable[[], object]]
) -> list[dict[str, dict[str, float]]]:
    """The work by rank 0 alone, while the others sleep, and by all, in turns: what slows the machine slows both."""
    shared, alone = prepare(ranks), prepare(ALONE) if ranks.is_main else None
    measured: list[dict[str, dict[str, float]]] = []
    start = time.perf_counter()
    while len(measured) < 1 + 5 or (
        len(measured) < 1 + 15 and ranks.from_main(torch.tensor(time.perf_counter() - start)) < SECONDS
    ):
        pair = {}
        if alone is not None:
            with sharing(ALONE):
                pair["alone"] = once(ALONE, alone)
        pair["shared"] = once(ranks, shared)
        measured.append(pair)
    return measured[1:]  # the first does not count


def main() -> None:
    torch.set_num_threads(1)
    with launched() as ranks:
        measured = {name: pairs(ranks, prepare) for name, prepare in WORK.items()}
        if ranks.is_main:
            print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
