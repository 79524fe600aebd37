"""`load`: one way to every data set, whether it has a name or is a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agop._checks import bad_type, bad_value, integer, one_of
from agop.datasets.arrays import encode, labels, points
from agop.datasets.dataset import Dataset, Raw
from agop.datasets.npz import load_npz
from agop.datasets.registry import DATA
from agop.datasets.source import Source

DEFAULT_ROOT = Path("~/.cache/agop")
"""Where files are looked for when no root is given."""


def available() -> tuple[Source, ...]:
    """The data sets that have a name and can be loaded, in the order of the registry; a broken plug-in is warned of and left out."""
    found = (_named(name) for name in list(DATA))
    return tuple(source for source in found if source is not None)


def _named(name: str) -> Source | None:
    """The source under a name; None if it is none, or that of a plug-in which can't be loaded."""
    try:
        source = DATA[name]
    except KeyError:
        return None
    if isinstance(source, Source) and source.name == name:
        return source
    warnings.warn(
        f"what is registered as the data set {name!r} is no agop.datasets.Source of that name: left out",
        RuntimeWarning,
        stacklevel=3,
    )
    return None


def load(
    name_or_path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    n_train: int | None = None,
    n_test: int | None = None,
    subset: str = "first",
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load a named data set, or an .npz file with x_train, y_train[, x_test, y_test] in any shape (n, ...).

    Parameters
    ----------
    name_or_path
        A name of `agop.datasets.DATA`, or the path of an .npz file.
    root
        Folder of files; `~/.cache/agop` by default.
    download
        Fetch files that are missing.
    n_train, n_test
        How many points to take; all by default.
    subset
        Which points these are: "first", in the order of the file, so that published numbers can be repeated;
        or "random", drawn without replacement with `seed` (not stratified), the training points independently
        of how many test points are taken.
    seed
        Of the random subset, and of a generated set.
    parameters
        Of a generated set, see `Source.parameters`; its defaults otherwise.

    Raises
    ------
    ValueError
        One sentence, if the name is unknown, a file is missing or malformed, more points are asked for than
        there are, or the chosen training points are of one class only.

    """
    text = os.fspath(name_or_path) if isinstance(name_or_path, str | os.PathLike) else name_or_path
    if not isinstance(text, str):
        raise bad_type("data", "a name or a path", repr(text))
    if root is not None and not isinstance(root, str | os.PathLike):
        raise bad_type("root", "a folder", repr(root))
    subset = one_of("subset", subset, ("first", "random"))
    seed = integer("seed", seed, at_least=0)
    given = dict(parameters or {})
    source = None if text.endswith(".npz") else _named(text)
    if source is not None:
        chosen = source.chosen(given)
        folder = Path(root if root is not None else DEFAULT_ROOT).expanduser()
        raw = source.read(root=folder, download=download, seed=seed, **chosen)
        return _assemble(text, source.called(seed, chosen), raw, n_train, n_test, subset, seed)
    if not text.endswith(".npz"):
        expected = f"one of {', '.join(DATA)}, or the path of an .npz file"
        raise bad_value("data", expected, repr(text), "see `agop datasets`")
    if given:
        raise bad_value("parameters", "none for an .npz file", ", ".join(map(str, given)), "leave them out")
    name = Path(text).name
    return _assemble(name, name, load_npz(Path(text).expanduser()), n_train, n_test, subset, seed)


def _assemble(
    name: str, called: str, raw: Raw, n_train: int | None, n_test: int | None, subset: str, seed: int
) -> Dataset:
    x_train = points("x_train", raw.x_train)
    train_labels = labels("y_train", raw.y_train, "x_train", len(x_train))
    classes = np.unique(train_labels) if raw.class_names is None else np.arange(len(raw.class_names))
    y_train = encode("y_train", train_labels, classes)
    x_test = y_test = None
    if raw.x_test is not None and raw.y_test is not None:
        x_test = points("x_test", raw.x_test)
        y_test = encode("y_test", labels("y_test", raw.y_test, "x_test", len(x_test)), classes)
        if raw.x_test.shape[1:] != raw.x_train.shape[1:]:
            raise bad_value(
                "x_test", f"points of shape {raw.x_train.shape[1:]} like x_train", f"{raw.x_test.shape[1:]}"
            )
    train_seed, test_seed = np.random.SeedSequence(seed).spawn(2)
    rows = _choose("n_train", n_train, len(x_train), subset, train_seed)
    x_train, y_train = x_train[rows], y_train[rows]
    source = f"{called}: {_taken(n_train, len(x_train), subset, seed)} training points"
    if x_test is not None and y_test is not None:
        rows = _choose("n_test", n_test, len(x_test), subset, test_seed)
        x_test, y_test = x_test[rows], y_test[rows]
        source += f", {_taken(n_test, len(x_test), subset, seed)} test points"
    elif n_test is not None:
        raise bad_value("n_test", "a data set with x_test and y_test", f"{name!r} without", "leave it out")
    else:
        source += ", no test points"
    class_names = raw.class_names if raw.class_names is not None else tuple(str(label) for label in classes)
    notes = _missing_classes(y_train, class_names)
    return Dataset(
        name,
        x_train,
        y_train,
        x_test,
        y_test,
        raw.x_train.shape[1:],
        class_names,
        source + ".",
        notes,
    )


def _taken(wanted: int | None, count: int, subset: str, seed: int) -> str:
    if wanted is None:
        return f"all {count:,}"
    return f"the first {count:,}" if subset == "first" else f"{count:,} random (seed {seed})"


def _choose(
    name: str, wanted: int | None, there: int, subset: str, seed: np.random.SeedSequence
) -> slice | np.ndarray:
    if wanted is None:
        return slice(None)
    if integer(name, wanted, at_least=1) > there:
        raise bad_value(name, f"at most the {there:,} points there are", f"{wanted:,}", "ask for fewer")
    if subset == "first":
        return slice(wanted)
    return np.sort(np.random.default_rng(seed).choice(there, size=wanted, replace=False))


def _missing_classes(y_train: np.ndarray, class_names: tuple[str, ...]) -> tuple[str, ...]:
    present = np.unique(y_train)
    if len(present) < 2:
        raise bad_value(
            "data", "training points of at least two classes", f"only class {class_names[present[0]]!r}",
            "take more points, or --subset random if the file is sorted by class",
        )  # fmt: skip
    missing = [name for index, name in enumerate(class_names) if index not in present]
    if not missing:
        return ()
    counts = f"{len(present)} of {len(class_names)} classes"
    return (f"The training points hold {counts}; missing: {', '.join(missing)}.",)
