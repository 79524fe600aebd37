"""The table of measurements, layer by layer and stage by stage, for every kind of subject."""

from __future__ import annotations

from agop.profiles.before import network_views
from agop.profiles.data import Data, MeasureOptions, Source
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.profiles.report import CollapseReport, collapse_report
from agop.profiles.table import Profile
from agop.profiles.trajectory import Trajectory

__all__ = [
    "CollapseReport",
    "Data",
    "MeasureOptions",
    "Network",
    "Profile",
    "Source",
    "Trajectory",
    "collapse_report",
    "network_views",
    "profile",
]
