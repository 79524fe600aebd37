"""What `agop conv-rfm` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from agop.experiments.configuration import (
    MACHINE,
    MEASURING,
    MODEL,
    Configuration,
    dtype,
    measures,
    option,
)
from agop.experiments.subject import SubjectKind

PADDINGS = ("valid", "same")
IMAGE_KERNELS = ("cntk", "patch-laplace", "patch-gaussian")
CHOICES = ("validation", "cross-fitted", "last")


@dataclass(frozen=True, kw_only=True)
class ConvRFMConfig(Configuration):
    """The options of `agop conv-rfm`."""

    kernel: str = option("cntk", "{choices}.", MODEL, choices=IMAGE_KERNELS)
    depth: int = option(1, "Convolutions of cntk; those of a Deep ConvRFM are its stages.", MODEL, at_least=1)
    stages: int = option(0, "Stages of a Deep ConvRFM; 0: a ConvRFM.", MODEL, at_least=0)
    width: int = option(64, "Channels between the stages.", MODEL, at_least=1)
    patch_size: int = option(3, "Pixels on a side of a patch.", MODEL, at_least=1)
    stride: int = option(1, "Pixels from one patch to the next.", MODEL, at_least=1)
    padding: str = option("valid", "{choices} (zeros around the image).", MODEL, choices=PADDINGS)
    bandwidth: float | None = option(
        None, "Of a patch kernel.", MODEL, shown="median distance of patches", above=0
    )
    iterations: int = option(3, "How often the metric of patches is learned.", MODEL, at_least=0)
    ridge: float = option(1e-3, "Times the largest entry of the kernel matrix.", MODEL, at_least=0)
    choose: str = option(
        "validation", "What predicts: best on held-out images (validation), cross-fitted, or the last.", MODEL, choices=CHOICES
    )  # fmt: skip
    validation: float = option(0.2, "Share of the images that is held out.", MODEL, above=0, at_most=0.9)
    n_agop: int | None = option(None, "Images at which the AGOP is taken.", MODEL, shown="all", at_least=1)
    measures: tuple[str, ...] | None = measures("nc1,nc2")
    pictured: int = option(6, "Test images in the picture of the energy.", MEASURING, at_least=1)
    dtype: str = dtype()
    max_memory: str | None = option(None, "Such as 8GB.", MACHINE, shown="what is free", decides=False)


HELP = """Fit a ConvRFM or a Deep ConvRFM to images, choose its iteration, and show its filters and where it looks.

\b
[bold]Examples[/bold]
  agop conv-rfm --data digits-in-noise --n-train 400 --out runs/noise
  agop conv-rfm --data stars --n-train 50 --patch-size 11 --choose cross-fitted
  agop conv-rfm --data svhn --download --n-train 2000 --depth 3
  agop conv-rfm --data digits --n-train 400 --stages 3 --iterations 1

Points must be images. Pixels are divided by the largest one.

A run that was cut off continues from its last finished iteration or stage; a finished one is not run again.
"""

KIND = SubjectKind(
    name="conv-rfm",
    help=HELP,
    config=ConvRFMConfig,
    task="agop.experiments.subjects.conv_rfm:ConvRFMTask",
    out="conv-rfm-{data}",
    table="agop.cli.iterations:by_iteration",
    display="operations",
    shared=True,
)
