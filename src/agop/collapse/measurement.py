"""Where `Measurement` was in 0.1; what was pickled then looks for it here."""

from agop.measurement import Measurement

__all__ = ["Measurement"]
