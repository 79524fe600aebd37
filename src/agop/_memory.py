"""What memory there is, and how bytes are read and written."""

from __future__ import annotations

import re

import psutil
import torch

from agop import _checks
from agop.ranks import current

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def available_memory(device: torch.device | None = None) -> int:
    """Bytes free on `device` (None: the machine) now; of the memory of a machine, the part of one of its ranks."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available) // current().here


def parse_memory(name: str, value: int | str | None) -> int | None:
    """A number of bytes from an integer or a text such as "20GB" or "512 MiB" (powers of 1024); None stays None."""
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)i?b?\s*", value.lower())
        if not match:
            raise _checks.bad_value(name, "bytes or a text such as '20GB'", repr(value))
        return int(float(match[1]) * _UNITS[match[2]])
    return _checks.integer(name, value, at_least=1)


def human(size: int) -> str:
    """Bytes as a short text.

    >>> human(3 * 2**30)
    '3.0 GiB'
    """
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
