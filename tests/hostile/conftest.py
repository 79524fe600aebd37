"""Here the library is run as users run it: without the run-time type checks, which would refuse bad input before it does."""

from __future__ import annotations

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def _as_in_production():
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
