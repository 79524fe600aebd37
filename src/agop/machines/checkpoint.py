"""The sums of an unfinished pass in a file: a fit that was cut off goes on with the rows that are not in them yet, to the same bits."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agop import _checks, _store
from agop.machines.nystrom_sums import NystromSums
from agop.ranks import current

KIND, VERSION = "sums", 1
ROWS = 8192
"""Rows after which sums are written, or a block if that is longer: writing m² numbers takes about a twentieth of their time."""


def check_folder(checkpoint: Any) -> Path | None:
    """The folder, which is made if it isn't there.

    Raises
    ------
    ValueError, TypeError
        If it is no path, or can't be a folder.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | Path):
        raise _checks.bad_type("checkpoint", "the path of a folder, or None", _checks.shown(checkpoint))
    folder = Path(checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise _checks.bad_value(
            "checkpoint", "a folder that can be written to", f"{str(folder)!r} ({reason})"
        ) from None
    return folder


def key_of(texts: Sequence[Any], tensors: Iterable[Tensor]) -> str:
    """What sums depend on, in a few characters: sums of another metric, other centres or other rows are not these."""
    content = hashlib.blake2b(digest_size=16)
    content.update(repr(texts).encode())
    for tensor in tensors:
        content.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        content.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


@dataclass(eq=False)
class SumsCheckpoint:
    """Where the sums of a pass are kept, one file a rank; nothing is, without a folder.

    Attributes
    ----------
    folder
        Where the file is.
    key
        See `key_of`.
    """

    folder: Path | None
    key: str = ""

    @property
    def path(self) -> Path:
        """The file of this rank."""
        assert self.folder is not None
        return self.folder / f"sums-{current().rank}.safetensors"

    def restored(self, device: torch.device) -> tuple[list[NystromSums], int] | None:
        """The sums, and the number of the first row that is not in them; None if there are none of this fit."""
        if self.folder is None or not self.path.exists():
            return None
        try:
            header, tensors = _store.read(self.path, KIND, VERSION, "it is made anew")
            if header.get("key") != self.key:
                return None
            parts = [
                NystromSums.restored({name: tensors[f"{k}.{name}"].to(device) for name in NystromSums.NAMES})
                for k in range(int(header["parts"]))
            ]
            return parts, int(header["row"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"The sums in {self.path} can't be read and are formed anew: {error}"
            warnings.warn(message, UserWarning, stacklevel=2)
            return None

    @contextmanager
    def sums(
        self, parts: Sequence[NystromSums]
    ) -> Iterator[Callable[[int, int], AbstractContextManager[None]]]:
        """While a pass adds rows to `parts`: each block is added inside of what is yielded, called with its rows and the row that follows.

        Sums are written now and then, and when the pass ends before its time, unless that was in the middle of a block.
        """
        pending, following, whole = 0, -1, True

        @contextmanager
        def taken(rows: int, row: int) -> Iterator[None]:
            nonlocal pending, following, whole
            whole = False
            yield
            pending, following, whole = pending + rows, row, True
            if self.folder is not None and pending >= ROWS:
                self.write(parts, row)
                pending = 0

        try:
            yield taken
        except BaseException:
            if whole and pending:
                self.write(parts, following)
            raise

    def write(self, parts: Sequence[NystromSums], row: int) -> None:
        """Write the sums."""
        if self.folder is None:
            return
        tensors = {
            f"{k}.{name}": value for k, part in enumerate(parts) for name, value in part.tensors().items()
        }
        _store.write(self.path, KIND, VERSION, {"key": self.key, "row": row, "parts": len(parts)}, tensors)

    def done(self) -> None:
        """The sums are not needed any more."""
        if self.folder is not None:
            self.path.unlink(missing_ok=True)
