"""Rooms whose names are imported on first use, so that what is only asked for its names starts without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def on_first_use(room: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package: each name is imported from its module in the package when it is first asked for.

    Parameters
    ----------
    room
        The package's `__name__`.
    homes
        By name the module that it comes from, within the package.
    """

    def attribute(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(import_module(f"{room}.{homes[name]}"), name)
        setattr(sys.modules[room], name, value)
        return value

    return attribute
