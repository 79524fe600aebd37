"""The table of measurements, layer by layer and stage by stage, for every kind of subject."""

from agop.profiles.profile import profile
from agop.profiles.table import Profile
from agop.profiles.views import network_views

__all__ = ["Profile", "network_views", "profile"]
