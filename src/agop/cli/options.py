"""From a configuration's fields to the options of its verb: one parameter a field, with what the field says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from agop.experiments.configuration import Configuration, Option, options, spelling


def parameters(configuration: type[Configuration]) -> list[Parameter]:
    """One keyword parameter for each option, as typer reads them; those that must be given come with no default."""
    kinds = get_type_hints(configuration)
    return [
        parameter(entry.name, *_declared(entry, kinds[entry.name], about))
        for entry, about in options(configuration)
    ]


def parameter(name: str, annotation: Any, default: Any) -> Parameter:
    """A keyword parameter of a verb."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _declared(entry: Field[Any], kind: Any, about: Option) -> tuple[Any, Any]:
    required = entry.default is MISSING
    declared = typer.Option(
        *_flags(entry),
        help=about.text,
        show_default=about.shown or not required,
        autocompletion=_completion(about),
        rich_help_panel=about.panel,
    )
    return Annotated[kind, declared], Parameter.empty if required else entry.default


def _flags(entry: Field[Any]) -> tuple[str, ...]:
    """The spelling of a switch; typer spells the other options by itself."""
    if not isinstance(entry.default, bool):
        return ()
    return ("/".join(filter(None, spelling(entry))),)


def _completion(about: Option) -> Callable[[str], list[str]] | None:
    """Shell completion from names, and from files of this folder; whether a value is right is decided where it is used."""
    if not (about.choices or about.suggestions or about.files):
        return None

    def complete(incomplete: str) -> list[str]:
        files = sorted(str(path) for path in Path().glob(about.files)) if about.files else []
        words = [*about.choices, *about.suggestions, *files]
        return [word for word in words if word.startswith(incomplete)]

    return complete
