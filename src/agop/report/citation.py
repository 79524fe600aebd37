"""How to cite the method and this software."""

from __future__ import annotations

from agop import __version__

PAPER = (
    "Daniel Beaglehole, Peter Súkeník, Marco Mondelli, Mikhail Belkin: Average gradient outer product as a "
    "mechanism for deep neural collapse. NeurIPS 2024, arXiv 2402.13728."
)
SOFTWARE = f"agop {__version__}, The agop developers."
BIBTEX = rf"""@inproceedings{{beaglehole2024average,
  author    = {{Beaglehole, Daniel and S{{\'u}}ken{{\'i}}k, Peter and Mondelli, Marco and Belkin, Mikhail}},
  title     = {{Average gradient outer product as a mechanism for deep neural collapse}},
  booktitle = {{Advances in Neural Information Processing Systems}},
  year      = {{2024}},
  note      = {{arXiv:2402.13728}}
}}
@software{{agop,
  author  = {{{{The agop developers}}}},
  title   = {{agop: average gradient outer products, Recursive Feature Machines and neural collapse}},
  version = {{{__version__}}}
}}"""
