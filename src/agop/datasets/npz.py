"""Any .npz file with x_train, y_train[, x_test, y_test]; nothing in it is ever unpickled."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from agop._checks import bad_value
from agop.datasets.dataset import Raw

_REQUIRED = ("x_train", "y_train")
_OPTIONAL = ("x_test", "y_test")
_REMEDY = "write it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
# Everything that zipfile, zlib and numpy's header parser raise on damaged bytes.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    OverflowError,
    TypeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_npz(path: Path) -> Raw:
    """Read the four arrays of an .npz file.

    Raises
    ------
    ValueError
        One sentence that names the file, if it is missing, damaged, lacks an array, or holds Python objects.

    """
    if not path.is_file():
        raise bad_value(
            "data",
            "a registered name or an .npz file",
            f"{str(path)!r}, which does not exist",
            "check the path",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            missing = [name for name in _REQUIRED if name not in names]
            if not missing:
                arrays = {name: _member(archive, name) for name in (*_REQUIRED, *_OPTIONAL) if name in names}
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_value("data", "a readable .npz file", f"{str(path)!r} ({reason})", _REMEDY) from None
    if missing:
        raise bad_value(
            "data",
            "an .npz file with x_train and y_train",
            f"{str(path)!r} without {', '.join(missing)}",
            _REMEDY,
        )
    if ("x_test" in arrays) != ("y_test" in arrays):
        lonely, other = _OPTIONAL if "x_test" in arrays else _OPTIONAL[::-1]
        raise bad_value(
            "data",
            f"{lonely} together with {other}",
            f"{str(path)!r} without {other}",
            "add it or leave both out",
        )
    return Raw(arrays["x_train"], arrays["y_train"], arrays.get("x_test"), arrays.get("y_test"))


def read_arrays(path: Path, most_bytes: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz file that together take at most `most_bytes`; a damaged one raises one of `DAMAGED`."""
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
        if size > most_bytes:
            raise ValueError(f"{size:,} bytes of arrays, more than agop writes")
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return {name: _member(archive, name) for name in names}


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array, after its header has been compared with the bytes that the archive has for it."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as stream:
        shape, dtype = _header(stream)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        # A header that promises more than there is would make numpy reserve the memory first.
        if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{name} is shorter than its header says")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise ValueError(f"array format {version} is not one of 1.0 and 2.0")
    shape, _, dtype = read(stream)
    return shape, dtype
