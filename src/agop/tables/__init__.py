"""From a file or frame with named columns to a model that predicts on the next one. Names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop._lazy import on_first_use

if TYPE_CHECKING:
    from agop.tables.encoder import TableEncoder
    from agop.tables.loading import load
    from agop.tables.model import TableModel, fit_table
    from agop.tables.reading import Table, read_table

__all__ = ["Table", "TableEncoder", "TableModel", "fit_table", "load", "read_table"]

_HOMES = {
    "Table": "reading",
    "TableEncoder": "encoder",
    "TableModel": "model",
    "fit_table": "model",
    "load": "loading",
    "read_table": "reading",
}
__getattr__ = on_first_use(__name__, _HOMES)
