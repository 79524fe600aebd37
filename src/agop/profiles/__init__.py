"""The table of measurements, layer by layer and stage by stage, for every kind of subject."""

from agop.profiles.profile import Profile, profile

__all__ = ["Profile", "profile"]
