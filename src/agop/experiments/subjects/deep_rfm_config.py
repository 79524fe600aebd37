"""What `agop deep-rfm` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from agop.experiments.configuration import MACHINE, MODEL, Configuration, dtype, measures, option
from agop.experiments.subject import SubjectKind
from agop.kernels.registry import KERNELS
from agop.machines.names import FEATURE_MAPS, PRECISIONS, SOLVERS


@dataclass(frozen=True, kw_only=True)
class DeepRFMConfig(Configuration):
    """The options of `agop deep-rfm`."""

    layers: int = option(8, "Layers.", MODEL, at_least=1)
    width: int = option(1024, "Random features a layer.", MODEL, at_least=1)
    feature_map: str = option("relu", "{choices}.", MODEL, choices=FEATURE_MAPS)
    feature_bandwidth: float = option(20.0, "Bandwidth of Fourier features.", MODEL, above=0)
    kernel: str = option("laplace", "{choices}.", MODEL, choices=KERNELS)
    bandwidth: float = option(2.0, "Bandwidth of the kernel, on rows of unit norm.", MODEL, above=0)
    ridge: float = option(1e-3, "Added to the kernel's diagonal.", MODEL, at_least=0)
    measures: tuple[str, ...] | None = measures("nc1,nc2")
    dtype: str = dtype()
    solver: str = option("auto", "cholesky, cg (iterative) or auto (by memory).", MACHINE, choices=SOLVERS)
    precision: str = option("mixed", "mixed (distances in float64) or native.", MACHINE, choices=PRECISIONS)
    max_memory: str | None = option(None, "Such as 8GB.", MACHINE, shown="what is free", decides=False)


HELP = """Fit a Deep RFM, measure every layer, and write figures and a report.

\b
[bold]Examples[/bold]
  agop deep-rfm --out runs/digits
  agop deep-rfm --data mine.npz --layers 12 --out runs/mine
  agop deep-rfm --data fashion-mnist --download --n-train 5000 --out runs/fashion
  agop deep-rfm --feature-map fourier --feature-bandwidth 20 --out runs/cosine
  torchrun --nproc-per-node 2 -m agop deep-rfm --solver cg --out runs/shared

A run that was cut off continues from its last finished layer; a finished one is not run again.
"""

KIND = SubjectKind(
    name="deep-rfm",
    help=HELP,
    config=DeepRFMConfig,
    task="agop.experiments.subjects.deep_rfm:DeepRFMTask",
    out="deep-rfm-{data}",
    table="stages",
    display="operations",
    shared=True,
)
