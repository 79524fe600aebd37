"""Options that several verbs share: one name and one help text per parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

DATA, MODEL, MACHINE = "Data", "Model", "Machine"
"""Panels of the help."""

_DATA_SETS = ("digits", "mnist", "fashion-mnist", "cifar10", "svhn")
"""Their names as `agop.datasets` knows them, here because a completion must not wait for its imports."""


def complete(*values: str) -> Callable[[str], list[str]]:
    """Shell completion from a list; whether a value is right is decided where it is used."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def data_sets(incomplete: str) -> list[str]:
    """Shell completion of data sets: their names, and the .npz files of this folder."""
    here = sorted(str(path) for path in Path().glob("*.npz"))
    return [name for name in (*_DATA_SETS, *here) if name.startswith(incomplete)]


Data = Annotated[
    str,
    typer.Option(
        help="A name that `agop datasets` lists, or an .npz file.",
        autocompletion=data_sets,
        rich_help_panel=DATA,
    ),
]
NTrain = Annotated[
    int | None, typer.Option(help="Training points.", show_default="all", rich_help_panel=DATA)
]
NTest = Annotated[int | None, typer.Option(help="Test points.", show_default="all", rich_help_panel=DATA)]
Subset = Annotated[
    str,
    typer.Option(
        help="Which points: first (file order) or random (by --seed).",
        autocompletion=complete("first", "random"),
        rich_help_panel=DATA,
    ),
]
DataRoot = Annotated[
    str | None,
    typer.Option(help="Folder of torchvision's files.", show_default="~/.cache/agop", rich_help_panel=DATA),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch torchvision's files if missing.", rich_help_panel=DATA)
]
Seed = Annotated[int, typer.Option(help="Of all randomness.", rich_help_panel=MODEL)]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …", rich_help_panel=MACHINE)]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32 or float64.", autocompletion=complete("float32", "float64"), rich_help_panel=MACHINE
    ),
]
