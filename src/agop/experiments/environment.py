"""What numbers depend on besides the options: versions and machine, nothing that names a person or host."""

from __future__ import annotations

import contextlib
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("agop", "torch", "numpy", "scipy", "scikit-learn", "pandas")


def environment() -> dict[str, Any]:
    """`versions` and `machine`, each a dictionary of plain values."""
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = installed(package)
    machine: dict[str, Any] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return {"versions": versions, "machine": machine}


@cache
def installed(package: str) -> str:
    """The installed version of a package; asked for once, since it is read from a file."""
    return version(package)
