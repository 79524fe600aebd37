"""Figures and the self-contained page of a run, made from the files in its directory."""

from agop.report.patches import energy_maps, filter_grid
from agop.report.record import RunRecord
from agop.report.write import write_comparison, write_report

__all__ = ["RunRecord", "energy_maps", "filter_grid", "write_comparison", "write_report"]
