"""Bad input meets the library as users run it: without the run-time type checks, which would refuse it first."""

from __future__ import annotations

import jaxtyping
import pytest


@pytest.fixture
def as_in_production():
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
