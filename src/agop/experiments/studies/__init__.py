"""Reproduced papers: the registry of them. A study is one file (and the code it computes with), and one line here."""

from __future__ import annotations

from collections.abc import Iterator

from agop.experiments.study import Study
from agop.registry import Registry

STUDIES: Registry[Study] = Registry(
    "agop.studies",
    {
        "beaglehole2024": "agop.experiments.studies.beaglehole2024:STUDY",
        "arora2020": "agop.experiments.studies.arora2020:STUDY",
        "baptista2024": "agop.experiments.studies.baptista2024:STUDY",
        "beaglehole2023": "agop.experiments.studies.beaglehole2023:STUDY",
        "boix2025": "agop.experiments.studies.boix2025:STUDY",
        "cagnetta2022": "agop.experiments.studies.cagnetta2022:STUDY",
        "dang2023": "agop.experiments.studies.dang2023:STUDY",
        "doimo2021": "agop.experiments.studies.doimo2021:STUDY",
        "emschwiller2020": "agop.experiments.studies.emschwiller2020:STUDY",
        "ingrosso2022": "agop.experiments.studies.ingrosso2022:STUDY",
        "liao2023": "agop.experiments.studies.liao2023:STUDY",
        "makantasis2021": "agop.experiments.studies.makantasis2021:STUDY",
        "mallinar2024": "agop.experiments.studies.mallinar2024:STUDY",
        "mingard2023": "agop.experiments.studies.mingard2023:STUDY",
        "nazaret2022": "agop.experiments.studies.nazaret2022:STUDY",
    },
)
"""Studies by name. Other packages add theirs through entry points of the group "agop.studies"."""


def every() -> Iterator[Study]:
    """All studies but those of plug-ins that can't be loaded, which a warning names."""
    yield from STUDIES.loaded().values()
