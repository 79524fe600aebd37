"""Measures inside torchmetrics, Lightning and Hugging Face's Trainer, and into whatever logger is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop._lazy import on_first_use

if TYPE_CHECKING:
    from agop.integrations.loggers import log, scalars

__getattr__ = on_first_use(__name__, {"log": "loggers", "scalars": "loggers"})
__all__ = ["log", "scalars"]
