"""Names known at once, what they stand for imported on first use; other packages add names through entry points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, NamedTuple, TypeVar, cast

T = TypeVar("T")


class _PlugIn(NamedTuple):
    """An entry point of another package. (Its class may be the standard library's or that of the `importlib_metadata` backport, which
    takes over the search of the whole process once anything imports it; only what both have is used.)
    """

    name: str
    package: str
    group: str
    load: Callable[[], Any]

    @classmethod
    def of(cls, point: Any) -> _PlugIn:
        package = point.dist.name if point.dist is not None else point.value
        return cls(point.name, package, point.group, point.load)

    def __str__(self) -> str:
        return f"the plug-in {self.name!r} of {self.package} (entry point {self.group})"


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to values, of which most are lines `"module:attribute"` that are resolved on first use.

    Listing the names imports nothing of the package, so that `--help` and completion stay fast.

    Parameters
    ----------
    group
        The entry-point group in which other packages register names, such as "agop.probes"; None: they cannot. The group is looked up when
        the names are listed or one is asked for that is not among `lines`.
    lines
        Values, or "module:attribute" strings, by name, in the order in which they are shown.

    Warns
    -----
    RuntimeWarning
        For an entry point that can't be loaded or that takes a name which is there already: its package and name. It is left out.

    Examples
    --------
    >>> roots = Registry("example.roots", {"sqrt": "math:sqrt"})
    >>> list(roots), roots["sqrt"](9.0)
    (['sqrt'], 3.0)
    """

    def __init__(self, group: str | None, lines: Mapping[str, str | T]) -> None:
        self.group = group
        self._lines: dict[str, str | _PlugIn | T] = dict(lines)
        self._own = frozenset(lines)
        self._searched = group is None

    def __getitem__(self, name: str) -> T:
        if name not in self._lines:
            self._search()
        line = self._lines[name]
        if isinstance(line, _PlugIn):
            return self._loaded(name, line)
        if isinstance(line, str):
            module, _, attribute = line.partition(":")
            line = self._lines[name] = cast(T, getattr(import_module(module), attribute))
        return line

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(list(self._lines))

    def __len__(self) -> int:
        self._search()
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        if name not in self._lines:
            self._search()
        return name in self._lines

    def loaded(self) -> dict[str, T]:
        """Every value by name, all of them imported; a plug-in that can't be is left out."""
        values: dict[str, T] = {}
        for name in self:
            with suppress(KeyError):
                values[name] = self[name]
        return values

    def items(self) -> ItemsView[str, T]:
        """As of `loaded`."""
        return self.loaded().items()

    def values(self) -> ValuesView[T]:
        """As of `loaded`."""
        return self.loaded().values()

    def __repr__(self) -> str:
        return f"Registry({self.group!r}: {', '.join(self._lines)})"

    @property
    def lines(self) -> Mapping[str, str]:
        """The package's own lines that nobody has resolved yet."""
        return {name: line for name, line in self._lines.items() if isinstance(line, str)}

    @property
    def own(self) -> tuple[str, ...]:
        """The package's own names, without those of plug-ins."""
        return tuple(name for name in self._lines if name in self._own)

    def add(self, name: str, value: T) -> None:
        """Register a value of one's own in this process, under a name that is free."""
        if name in self:
            raise ValueError(f"name: expected one that is free, got {name!r}; take another.")
        self._lines[name] = value

    def remove(self, name: str) -> None:
        """Take out what `add` put in."""
        if name in self._own:
            raise ValueError(f"name: expected one that was added, got {name!r}, which is the package's own.")
        del self._lines[name]

    def _search(self) -> None:
        """Take in the names of other packages, once."""
        if self._searched or self.group is None:
            return
        self._searched = True
        for plug_in in map(_PlugIn.of, entry_points(group=self.group)):
            if plug_in.name in self._lines:
                warnings.warn(
                    f"{plug_in} takes a name that is there already: left out",
                    RuntimeWarning,
                    stacklevel=3,
                )
            else:
                self._lines[plug_in.name] = plug_in

    def _loaded(self, name: str, plug_in: _PlugIn) -> T:
        try:
            value = cast(T, plug_in.load())
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and costs nothing else
            del self._lines[name]
            reason = " ".join(str(error).split())[:200]
            warnings.warn(
                f"{plug_in} can't be loaded ({type(error).__name__}: {reason}): left out",
                RuntimeWarning,
                stacklevel=3,
            )
            raise KeyError(name) from None
        self._lines[name] = value
        return value
