"""Here the library is run as users run it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _as_in_production(as_in_production):
    pass
