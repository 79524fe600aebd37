"""From what a user passes to an estimator to tensors and back: arrays, frames or tensors, labels or targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, column_or_1d, validate_data
from torch import Tensor

from agop import _checks
from agop._memory import available_memory, human
from agop.machines import tables

_DTYPES = {"float32": torch.float32, "float64": torch.float64}

_ENCODE = "encode it first, as skrub.TableVectorizer() or scikit-learn's OneHotEncoder() does in a pipeline"
_IMPUTE = (
    "fill them first, as scikit-learn's SimpleImputer() does in a pipeline, or take RFMRegressor or RFMClassifier, which take them as "
    "they are"
)


@dataclass(frozen=True, eq=False)
class Place:
    """Where and in what an estimator computes, and what it was handed: arrays go back as arrays, tensors as tensors."""

    device: torch.device
    dtype: torch.dtype
    given_tensor: bool
    given_device: torch.device
    given_dtype: torch.dtype

    def returned(self, values: Tensor, dtype: torch.dtype | None = None) -> Any:
        """`values` as what the user passed: on its device as a tensor, or as a NumPy array; in its dtype unless another is named."""
        values = values.to(self.given_dtype if dtype is None else dtype)
        return values.to(self.given_device) if self.given_tensor else values.cpu().numpy()


def check_X(
    estimator: BaseEstimator,
    X: Any,
    *,
    reset: bool,
    device: Any,
    dtype: Any,
    gaps: bool = False,
    counts: np.ndarray | None = None,
) -> tuple[Float[Tensor, "n d"], Place]:
    """Validate a design matrix by scikit-learn's rules, on the device where it will be computed with but in its own dtype.

    The input itself is never written to. With `gaps`, an estimator of tables takes NaN, sparse matrices and categories too, whose codes it
    gets; levels are learned from the rows that `counts` (None: all), and are the estimator's `categories_`.
    """
    wanted = wanted_dtype(dtype)
    _refuse_equal_names(X)
    if isinstance(X, Tensor):
        if X.layout == torch.strided and not (X.is_floating_point() or X.is_complex()):
            X = X.double()  # as an array of whole numbers
        X = _checks.floating("X", X.detach(), ndim=2, finite=not gaps)
        if X.shape[0] == 0 or X.shape[1] == 0:
            raise _checks.bad_value("X", "at least one row and one column", f"shape {tuple(X.shape)}")
        _check_columns(estimator, X.shape[1], reset)
        values, given = X, True
        if gaps and bool(torch.isinf(X).any()):
            raise _checks.bad_value("X", "finite values or NaN", "infinity", "clean them first")
        if gaps:
            values = _coded_tensor(estimator, X, reset, counts)
    elif not gaps:
        plain = {"dtype": [np.float64, np.float32], "accept_sparse": False, "reset": reset}
        array = _numbers_of(estimator, X, plain, takes="numbers", text=_ENCODE)
        values, given = torch.from_numpy(np.ascontiguousarray(array).copy()), False
    else:
        array = _table(estimator, X, reset, counts)
        values, given = torch.from_numpy(np.ascontiguousarray(array).copy()), False
    if values.dtype not in _DTYPES.values():
        wanted = wanted or torch.float32
    place = Place(
        device=values.device if device is None and given else _checks.device("device", device),
        dtype=wanted or values.dtype,
        given_tensor=given,
        given_device=values.device,
        given_dtype=values.dtype,
    )
    return values.to(place.device), place


def _table(estimator: BaseEstimator, X: Any, reset: bool, counts: np.ndarray | None) -> np.ndarray:
    """A frame, a sparse matrix or an array as numbers, codes and NaN."""
    X = tables.as_frame(X) if tables.is_table(X) else X
    if sparse.issparse(X):
        X = _dense(X)
    plain = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan", "reset": reset}
    asked, array = estimator.categorical_features, X
    if not isinstance(X, pd.DataFrame):
        known = not reset and estimator.categories_ is not None
        named = (known or not (asked is None or isinstance(asked, str))) and not isinstance(X, str)
        array = np.asarray(X, dtype=object if isinstance(X, list | tuple) else None) if named else None
    if array is None or array.ndim != 2 or 0 in array.shape:
        _learn_levels(estimator, None, reset)
        return _numbers_of(estimator, X, plain)
    names = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else None
    levels = None if reset else estimator.categories_
    places = tables.categorical_columns(asked, X, names, array.shape[1]) if reset else _places(levels)
    if not places and not (isinstance(X, pd.DataFrame) and any(kind.kind not in "fiub" for kind in X.dtypes)):
        _learn_levels(estimator, None, reset)
        return _numbers_of(estimator, X, plain)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    numbers, levels = tables.as_numbers(array, levels, places, counts)
    _learn_levels(estimator, levels if places else None, reset)
    if np.isinf(numbers).any():
        raise _checks.bad_value("X", "finite values or NaN", "infinity", "clean them first")
    return numbers


def _places(levels: list[list[Any] | None] | None) -> list[int]:
    return [place for place, known in enumerate(levels or ()) if known is not None]


def _learn_levels(estimator: BaseEstimator, levels: list[list[Any] | None] | None, reset: bool) -> None:
    if reset:
        estimator.categories_ = levels


def _numbers_of(
    estimator: BaseEstimator,
    X: Any,
    options: dict[str, Any],
    *,
    takes: str = "columns of numbers or categories",
    text: str = tables.REMEDY,
) -> np.ndarray:
    """An array of numbers by scikit-learn's rules; `text` is the remedy where it holds text instead of what the estimator `takes`."""
    with _with_remedies("X", takes=takes, text=text, missing=_IMPUTE):
        return np.asarray(validate_data(estimator, X, **options))


@contextmanager
def _with_remedies(name: str, *, takes: str = "numbers", text: str, missing: str) -> Iterator[None]:
    """Say what scikit-learn's check of `name` refuses in a sentence with our remedy instead of the library's advice."""
    try:
        yield
    except ValueError as error:
        says = str(error)
        if "could not convert" in says:
            raise _checks.bad_value(name, takes, "text", text) from None
        if "contains NaN" in says:
            got = f"missing values (Input {name} contains NaN)"
            raise _checks.bad_value(name, "finite values", got, missing) from None
        if "contains infinity" in says:
            got = f"infinity ({says.rstrip('.')})"
            raise _checks.bad_value(name, "finite values", got, "clean or rescale them first") from None
        raise


def _coded_tensor(estimator: BaseEstimator, X: Tensor, reset: bool, counts: np.ndarray | None) -> Tensor:
    """A tensor in whose columns of categories numbers are replaced by their codes."""
    if reset and estimator.categorical_features in (None, "from_dtype"):
        estimator.categories_ = None
    places = (
        tables.categorical_columns(estimator.categorical_features, X, None, X.shape[1])
        if reset and estimator.categorical_features not in (None, "from_dtype")
        else _places(estimator.categories_)
    )
    if not places:
        _learn_levels(estimator, None, reset)
        return X
    levels = None if reset else estimator.categories_
    numbers, levels = tables.as_numbers(X.double().cpu().numpy(), levels, places, counts)
    _learn_levels(estimator, levels, reset)
    return torch.from_numpy(numbers).to(X)


def _dense(X: Any) -> np.ndarray:
    """A sparse matrix as an array, if it fits into half of the free memory."""
    need, free = 8 * X.shape[0] * X.shape[1], available_memory(torch.device("cpu")) // 2
    if need > free:
        raise MemoryError(
            f"X: expected a sparse matrix that fits into {human(free)} as a dense one, got one that needs {human(need)}; "
            "use fewer rows or columns."
        )
    return np.asarray(X.toarray())


def rounded(values: Float[Tensor, "n d"], dtype: torch.dtype) -> Float[Tensor, "n d"]:
    """Rows in the dtype that is computed in, which must hold them."""
    placed = values.to(dtype)
    if not bool(torch.isfinite(placed).all()):
        raise _checks.bad_value(
            "X", f"values within the range of {dtype}", "larger ones", "rescale or use float64"
        )
    return placed


def _refuse_equal_names(X: Any) -> None:
    """Raise if two columns of a frame have one name: nobody could say which is meant."""
    names = tables.column_names(X) if tables.is_table(X) else []
    if all(isinstance(name, str) for name in names) and len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise _checks.bad_value(
            "X", "columns with different names", f"{twice[0]!r} more than once", "rename one of them"
        )


def _check_columns(estimator: BaseEstimator, d: int, reset: bool) -> None:
    if reset:
        estimator.n_features_in_ = d
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif d != estimator.n_features_in_:
        raise _checks.bad_value(
            "X",
            f"{estimator.n_features_in_} features as in fit",
            f"{d}",
            "pass the columns the estimator was fitted on",
        )


def wanted_dtype(dtype: Any) -> torch.dtype | None:
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise _checks.bad_value("dtype", "None, 'float32' or 'float64'", repr(dtype))
    return _DTYPES[name]


def no_targets() -> ValueError:
    return ValueError(
        "y: expected one target per row of X, got None (fit requires y to be passed, but the target y is None)."
    )


def check_targets(name: str, y: Any, n: int, place: Place) -> tuple[Float[Tensor, "n c"], bool]:
    """Regression targets as an (n, c) tensor in float64, and whether they came with one axis."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if y is None:
        raise no_targets()
    with _with_remedies(name, text="take the classifier for labels", missing="drop those rows"):
        array = check_array(y, ensure_2d=False, dtype=np.float64, input_name=name, allow_nd=False)
    if array.ndim not in (1, 2):
        raise _checks.bad_value(name, "one or two axes", f"shape {array.shape}")
    _checks.same_length("X" + name[1:], n, name, len(array))
    return torch.from_numpy(np.array(array)).to(place.device).reshape(n, -1), array.ndim == 1


def check_labels(
    name: str, y: Any, n: int, known: np.ndarray | None = None, counts: np.ndarray | None = None
) -> tuple[np.ndarray, Int[Tensor, " m"]]:
    """The sorted classes (the `known` ones if given), and the index of each label among them, of the rows that count (None: all)."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if y is None:
        raise no_targets()
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = column_or_1d(array, warn=True)
    if array.ndim != 1:
        raise _checks.bad_value(
            name, "labels with one axis", f"shape {array.shape}", "pass one label per row"
        )
    _checks.same_length("X" + name[1:], n, name, len(array))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _checks.bad_value(
            name, "labels", "NaN or infinite entries (Input contains NaN)", "drop those rows"
        )
    if array.dtype.kind == "O":
        _distinct(name, array)
    check_classification_targets(array)
    if counts is not None:
        array = array[counts]
    if known is not None:
        index = np.searchsorted(known, array).clip(max=len(known) - 1)
        if not (known[index] == array).all():
            unseen = array[known[index] != array][:1].tolist()[0]
            raise _checks.bad_value(name, "labels that occur in y", repr(unseen), "leave those samples out")
        return known, torch.from_numpy(index.astype(np.int64))
    classes, index = _distinct(name, array)
    if len(classes) < 2:
        raise _checks.bad_value(
            name, "at least 2 classes", f"1 class ({classes[0]!r})", "pass samples of another class too"
        )
    return classes, torch.from_numpy(index.astype(np.int64))


def _distinct(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted classes and the position of each label among them."""
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError:  # None, NaN or numbers among texts have no order
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.tolist()}))
        raise _checks.bad_type(
            name, "labels of one kind", kinds, "drop the rows without a label, or convert them with str"
        ) from None


def signed_one_hot(index: Int[Tensor, " n"], n_classes: int, place: Place) -> Float[Tensor, "n c"]:
    """+1 in the column of the class, −1 elsewhere."""
    hot = torch.full((len(index), n_classes), -1.0, dtype=torch.float64, device=place.device)
    return hot.scatter_(1, index.to(place.device)[:, None], 1.0)


def check_weight(name: str, sample_weight: Any, n: int, place: Place) -> Float[Tensor, " n"] | None:
    """Sample weights in float64 whatever the dtype of X, finite and not negative, or None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Tensor):
        sample_weight = sample_weight.detach().cpu().numpy()
    weights = _check_sample_weight(
        sample_weight, np.empty((n, 1)), dtype=np.float64, ensure_non_negative=True
    )
    if not weights.sum() > 0:
        raise _checks.bad_value(name, "some positive weight", "none", "weight at least one sample")
    return torch.from_numpy(np.array(weights)).to(place.device)


def counting(sample_weight: Any) -> np.ndarray | None:
    """Which rows count, from weights that are not checked yet; None for all."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight.cpu() if isinstance(sample_weight, Tensor) else sample_weight)
    return weights > 0 if weights.ndim == 1 and weights.dtype.kind in "biuf" else None


def seed_from(random_state: Any) -> int:
    """A seed from scikit-learn's `random_state` or a torch Generator; None draws fresh entropy, not the global generator."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, torch.Generator):
        return int(torch.randint(2**31 - 1, (), generator=random_state, device=random_state.device))
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return _checks.integer("random_state", random_state, at_least=0)
    if (
        not isinstance(random_state, np.random.RandomState | np.random.Generator | bool)
        and random_state is not np.random
    ):
        raise _checks.bad_type(
            "random_state", "an integer, a RandomState, a torch Generator or None", repr(random_state)
        )
    return int(check_random_state(random_state).randint(2**31 - 1))
