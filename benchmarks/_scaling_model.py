"""What a shared fit costs on many GPUs: operations, bytes and messages of the code as it is, over published rates.

Nothing here was run on GPUs. `docs/scaling.md` explains every line; change both together.
"""

from __future__ import annotations

from dataclasses import dataclass

CASES = [(n, d, gpus) for d in (50, 1024) for n in (10**6, 10**7) for gpus in (8, 64)]
OUTPUTS, RANK, ITERATIONS = 10, 1000, 100
"""c right-hand sides, rank of the preconditioner, and how many iterations a solve is assumed to take."""


@dataclass(frozen=True)
class GPU:
    """Published rates of one GPU, and the share of them that is assumed to be reached."""

    name: str = "NVIDIA H100 SXM"
    flops: float = 67e12  # float32, and float64 on tensor cores
    memory: float = 80e9
    bandwidth: float = 3.35e12
    within: float = 450e9  # NVLink, one direction
    between: float = 50e9  # one 400 Gbit/s adapter a GPU
    reached: float = 0.5


@dataclass(frozen=True)
class Passes:
    """Bytes read and written for one kernel value (`product`) or gradient weight (`agop`), pass by pass.

    Product: distances written (4, or 8 and 12 for their rounding), compared (7), root, division and exponential (8 each), read by two
    products (8). AGOP: the weight takes 21 more, and every output reads it once (4 each, added below).
    """

    product: float
    agop: float


PASSES = {"float32": Passes(43, 60), "float64": Passes(59, 76)}


def all_reduce_seconds(size: float, gpus: int, gpu: GPU) -> float:
    """A ring: every byte goes out and comes back once; the slowest link counts."""
    link = gpu.within if gpus <= 8 else gpu.between
    return 2 * (gpus - 1) / gpus * size / (gpu.reached * link)


def iteration(n: int, d: int, c: int, r: int, gpus: int, distances: str, gpu: GPU) -> dict[str, float]:
    """Seconds of one iteration of block conjugate gradients: shared, replicated, and in messages."""
    F, B = gpu.reached * gpu.flops, gpu.reached * gpu.bandwidth
    entries = n * n / 2 / gpus
    product = entries * ((2 * d + 4 * c) / F + PASSES[distances].product / B)
    preconditioner = 4 * n * r * 4 / gpus / B
    vectors = 30 * n * c * 4 / B
    messages = 4 * all_reduce_seconds(4 * n * c, gpus, gpu)
    return {"product": product, "preconditioner": preconditioner, "vectors": vectors, "messages": messages}


def setup_seconds(n: int, d: int, r: int, gpus: int, distances: str, gpu: GPU) -> float:
    """The preconditioner: r columns of K, a Cholesky factor of them, and its singular vectors."""
    F, B = gpu.reached * gpu.flops, gpu.reached * gpu.bandwidth
    return (n * r * (2 * d / F + PASSES[distances].product / B) + 6 * n * r * r / F) / gpus


def agop_seconds(n: int, d: int, c: int, gpus: int, distances: str, gpu: GPU) -> float:
    """The direct route: every weight once, c products with it, and the (d, d) sums."""
    F, B = gpu.reached * gpu.flops, gpu.reached * gpu.bandwidth
    weights = n * n * (2 * d / F + (PASSES[distances].agop + 4 * c) / B)
    return (weights + 2 * n * n * c * d / F + 2 * n * c * d * d / F) / gpus + all_reduce_seconds(
        8 * d * d, gpus, gpu
    )


def memory_bytes(n: int, d: int, c: int, r: int, gpus: int, distances: str) -> dict[str, float]:
    """On every GPU: points and vectors are replicated, the preconditioner is shared."""
    working = 8 if distances == "float64" else 4
    return {
        "points": n * d * (4 + working),
        "AGOP offsets": n * d * (4 + working + 4),
        "vectors": n * c * (8 * 4 + 2 * 8),
        "preconditioner": n * r * 4 / gpus,
        "tiles": 1e9,
    }


def tables(gpu: GPU = GPU()) -> list[dict[str, float | str]]:
    """One row a case; distances in float64, as in mixed precision with close points, and in float32."""
    rows: list[dict[str, float | str]] = []
    for n, d, gpus in CASES:
        for distances in PASSES:
            one = iteration(n, d, OUTPUTS, RANK, gpus, distances, gpu)
            setup = setup_seconds(n, d, RANK, gpus, distances, gpu)
            agop = agop_seconds(n, d, OUTPUTS, gpus, distances, gpu)
            held = memory_bytes(n, d, OUTPUTS, RANK, gpus, distances)
            row: dict[str, float | str] = {"n": n, "d": d, "gpus": gpus, "distances": distances}
            row |= {f"{name}_s": value for name, value in one.items()}
            row |= {"iteration_s": sum(one.values()), "setup_s": setup, "agop_s": agop}
            row |= {"fit_s": setup + ITERATIONS * sum(one.values()) + agop}
            row |= {"memory_bytes": sum(held.values()), "fits": str(sum(held.values()) < gpu.memory)}
            rows.append(row)
    return rows


def lines(rows: list[dict[str, float | str]]) -> list[str]:
    """The table of docs/scaling.md."""
    head = [
        "points",
        "features",
        "GPUs",
        "distances",
        "iteration",
        "messages in it",
        "preconditioner",
        "AGOP",
    ]
    head += [f"fit, {ITERATIONS} iterations", "memory a GPU"]
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [f"10^{len(str(row['n'])) - 1}", str(row["d"]), str(row["gpus"]), str(row["distances"])]
        cells += [duration(row["iteration_s"]), duration(row["messages_s"]), duration(row["setup_s"])]
        cells += [duration(row["agop_s"]), duration(row["fit_s"])]
        held = f"{float(row['memory_bytes']) / 1e9:.0f} GB"
        cells.append(held if row["fits"] == "True" else f"**{held}**")
        text.append("| " + " | ".join(cells) + " |")
    return text


def duration(value: float | str) -> str:
    """Seconds in the unit that suits them."""
    seconds = float(value)
    units = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
    unit = next((unit for unit, size in units.items() if seconds >= 2 * size), "ms")
    amount = seconds / units[unit]
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


if __name__ == "__main__":
    print("\n".join(lines(tables())))
