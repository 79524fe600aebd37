"""The table of measurements, layer by layer and stage by stage, for every kind of subject."""

from agop.profiles.profile import profile
from agop.profiles.table import Profile

__all__ = ["Profile", "profile"]
