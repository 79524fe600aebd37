"""Deep RFM as a subject of `profile`."""

from __future__ import annotations

from typing import Any

from agop.machines.deep_rfm import DeepRFMClassifier, DeepRFMRegressor


def is_deep_rfm(subject: Any) -> bool:
    """Whether `subject` yields its layers itself, by `views(X)`."""
    return isinstance(subject, DeepRFMClassifier | DeepRFMRegressor)
