"""What one pass of a fit on centres costs on many GPUs: operations, bytes and messages of the code as it is, over published rates.

Nothing here was run on GPUs. `docs/scaling.md` explains every line; change both together.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks._scaling_model import GPU, all_reduce_seconds, duration

POINTS, GPUS = (10**6, 10**8, 10**10), (1, 8, 64)
FEATURES, OUTPUTS = 50, 1
CENTERS = {10**6: 4_000, 10**8: 10_000, 10**10: 30_000}
"""m grows like √n, which keeps the statistical rate of the exact fit (Rudi, Camoriano and Rosasco 2015), until memory stops it."""
DISK, PCIE = 5e9, 50e9
"""Bytes a second from a local disk or a network file system to a GPU's host, and from there to the GPU."""


@dataclass(frozen=True)
class Cost:
    """Seconds of each part of a pass and of what precedes and follows it, and bytes on each GPU."""

    kernel: float
    projection: float
    gram: float
    reading: float
    messages: float
    centres: float
    memory: float
    disk: float

    @property
    def arithmetic(self) -> float:
        """What the GPUs compute in the pass."""
        return self.kernel + self.projection + self.gram

    @property
    def seconds(self) -> float:
        """Reading goes on while the block before is computed."""
        return max(self.arithmetic, self.reading) + self.messages + self.centres

    @property
    def binds(self) -> str:
        """The largest part."""
        parts = {
            "products": self.projection + self.gram,
            "kernel values": self.kernel,
            "reading": self.reading,
            "messages": self.messages,
            "eigenvectors": self.centres,
        }
        return max(parts, key=parts.__getitem__)


_GPU = GPU()


def cost(n: int, d: int, m: int, c: int, gpus: int, gpu: GPU = _GPU) -> Cost:
    """One pass over n rows on so many GPUs, each with its share of the rows.

    A kernel value takes 2d operations for its distance and 59 bytes of traffic (distances in float64: see `_scaling_model.Passes`); the
    projection is a product of 2m² a row, the Gram matrix half of one, in float64. Of K_mm: 9m³ for eigenvectors, on one GPU, at a tenth of
    the rate of a product, and the factor of the sums, m³/3. The sums are m² + mc numbers of 8 bytes, added in a ring; rows are float32.
    """
    F, B = gpu.reached * gpu.flops, gpu.reached * gpu.bandwidth
    mine = n / gpus
    return Cost(
        kernel=mine * m * (2 * d / F + 59 / B),
        projection=mine * 2 * m * m / F,
        gram=mine * m * (m + 2 * c) / F,
        reading=mine * 4 * (d + c) / (gpu.reached * min(DISK, PCIE)) * min(gpus, 8),
        messages=all_reduce_seconds(8 * (m * m + m * c), gpus, gpu),
        centres=9 * m**3 / (0.1 * F) + m**3 / 3 / F,
        memory=8 * m * m * 6 + 10 * m * (4 * d + 16 * d) + 2e9,
        disk=n * 4 * (d + c),
    )


def tables(gpu: GPU = _GPU) -> list[dict[str, float | str]]:
    """One row a case."""
    rows: list[dict[str, float | str]] = []
    for n in POINTS:
        for gpus in GPUS:
            m = CENTERS[n]
            one = cost(n, FEATURES, m, OUTPUTS, gpus, gpu)
            rows.append(
                {"n": n, "m": m, "gpus": gpus, "operations": n * m * (2 * FEATURES + 3 * m + 2 * OUTPUTS), "kernel_s": one.kernel,
                 "products_s": one.projection + one.gram, "reading_s": one.reading, "messages_s": one.messages, "centres_s": one.centres,
                 "fit_s": one.seconds, "memory_bytes": one.memory, "disk_bytes": one.disk, "binds": one.binds}
            )  # fmt: skip
    return rows


def lines(rows: list[dict[str, float | str]]) -> list[str]:
    """The table of docs/scaling.md."""
    head = [
        "points",
        "centres",
        "GPUs",
        "operations",
        "bytes read",
        "kernel values",
        "products",
        "reading",
        "messages",
        "eigenvectors",
    ]
    head += ["one pass", "memory a GPU", "binds"]
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            f"10^{len(str(row['n'])) - 1}",
            f"{row['m']:,}",
            str(row["gpus"]),
            f"{float(row['operations']):.1e}",
        ]
        cells.append(f"{float(row['disk_bytes']) / 1e9:,.1f} GB")
        times = ("kernel_s", "products_s", "reading_s", "messages_s", "centres_s", "fit_s")
        cells += [duration(row[name]) for name in times]
        cells += [f"{float(row['memory_bytes']) / 1e9:.0f} GB", str(row["binds"])]
        text.append("| " + " | ".join(cells) + " |")
    return text


if __name__ == "__main__":
    print("\n".join(lines(tables())))
