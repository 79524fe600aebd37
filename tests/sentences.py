"""Errors for a user's input are one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def one_sentence(
    kind: type[Exception] | tuple[type[Exception], ...] = (ValueError, TypeError), match: str | None = None
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """As `pytest.raises`; and what is raised has one line."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)
