"""Tensors and a JSON header in one safetensors file, distrusted when read.

Layout: 8 bytes, the length of a JSON table of the tensors; that table, with our own header as a text under
`__metadata__`; the tensors. Nothing in it can run code. What the file promises is compared with what it holds
before memory is reserved for it, and a content hash tells a damaged file from a sound one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agop import _checks
from agop._files import atomic

MOST_HEADER_BYTES = 16 * 2**20
"""Header and table of tensors together; the names of 500,000 features fit."""

_KEY = "agop"
DIGEST = "digest"
"""The entry of the metadata with the content hash: it finds damage, it does not prove who wrote a file."""


def digest(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """The content hash of texts and of tensors on the CPU, by name."""
    content = hashlib.blake2b(digest_size=16)
    content.update(json.dumps(sorted(texts.items())).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        content.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        flat = value.reshape(-1)
        if flat.stride() != (1,):  # a single number is contiguous with any stride, but is not viewed as bytes
            flat = flat.clone(memory_format=torch.contiguous_format)
        content.update(flat.view(torch.uint8).numpy().data)
    return content.hexdigest()


def write(
    path: str | Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a file of a kind ("estimator", "profile"), atomically.

    Raises
    ------
    ValueError
        If the folder does not exist, `path` is a folder, or the header is too long.
    OSError
        If the system can't write it, a full disk for example; a file of that name stays as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if not path.parent.is_dir():
        raise _checks.bad_value(
            "path", "a file in an existing folder", repr(str(path)), "create the folder first"
        )
    if path.is_dir():
        raise _checks.bad_value("path", "the name of a file", f"{str(path)!r}, a folder", "add a file name")
    text = json.dumps({"format": f"agop.{kind}", "version": version, "agop": _release(), **header})
    if len(text) > MOST_HEADER_BYTES // 2:
        got = f"{len(text) / 2**20:.0f} MiB of text"
        raise _checks.bad_value(
            kind, "names, classes and notes below 8 MiB", got, "shorten names of features or classes"
        )
    plain: dict[str, Tensor] = {}
    for name, value in tensors.items():
        whole = value.detach().cpu().contiguous()
        shared = any(whole.data_ptr() == other.data_ptr() for other in plain.values())
        plain[name] = whole.clone() if shared else whole  # the format has no tensors with two names
    with atomic(path) as partial:
        partial.touch()
        permissions = partial.stat().st_mode  # safetensors would keep everybody but the owner out
        try:
            save_file(plain, str(partial), metadata={_KEY: text, DIGEST: digest({_KEY: text}, plain)})
        except SafetensorError as error:
            raise OSError(f"{path}: {' '.join(str(error).split())}") from None
        partial.chmod(permissions)


def read(
    path: str | Path, kind: str, version: int, remedy: str, *, oldest: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file that `write` wrote; no tensor is empty. Versions from `oldest` (None: `version`) on are read.

    Raises
    ------
    ValueError
        One sentence, if it is missing, damaged, of another kind or version, or larger than the free memory.
    """
    path = Path(path)
    if not path.is_file():
        raise _checks.bad_value("path", f"a file with a saved {kind}", f"{str(path)!r}, which is not there")
    try:
        header, text, found = _header(path)
    except (ValueError, RecursionError, OSError) as error:
        raise unreadable(path, kind, error, remedy) from None
    if header.get("format") != f"agop.{kind}":
        got = f"{str(path)!r} of format {_checks.shown(header.get('format'))}"
        raise _checks.bad_value("path", f"a saved {kind}", got, "choose another file")
    found_version = header.get("version")
    if type(found_version) is not int or found_version not in range(oldest or version, version):
        _check_version(header.get("version"), version, kind, path, header.get("agop"))
    try:
        tensors = _tensors(path)
        if digest({_KEY: text}, tensors) != found:
            raise ValueError("its content is not what was written")
        return header, tensors
    except (ValueError, OSError, MemoryError) as error:
        raise unreadable(path, kind, error, remedy) from None


def kind_of(path: str | Path) -> str | None:
    """The kind that a file says it is of; None if it says none, or is no file of ours."""
    try:
        form = _header(Path(path))[0].get("format")
    except (ValueError, RecursionError, OSError):
        return None
    return form.removeprefix("agop.") if isinstance(form, str) and form.startswith("agop.") else None


def unreadable(path: Path, kind: str, error: Exception, remedy: str) -> ValueError:
    """The sentence about a damaged file; of what was found in it, only short printable text is repeated."""
    reason = " ".join(str(error).split())[:200].encode("unicode_escape").decode()
    got = f"{str(path)!r} ({reason or type(error).__name__})"
    return _checks.bad_value("path", f"a complete file with a saved {kind}", got, remedy)


def _release() -> str:
    from importlib.metadata import version

    return version("agop")


def _header(path: Path) -> tuple[dict[str, Any], str, object]:
    """Our header, as it is and as text, and the content hash."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 10 or length > size - 8:
            raise ValueError("no safetensors file, or cut off")
        if length > MOST_HEADER_BYTES:
            raise ValueError("a header larger than any that agop writes")
        raw = stream.read(length)
    table = _json(raw.decode("utf-8"))
    metadata = table.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise ValueError("not written by agop")
    for name, entry in table.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if name != "__metadata__" and not (
            isinstance(shape, list) and all(isinstance(n, int) and n > 0 for n in shape)
        ):
            raise ValueError(f"tensor {_checks.shown(name)} has no entries")
    return _json(metadata[_KEY]), metadata[_KEY], metadata.get(DIGEST)


def _json(text: str) -> dict[str, Any]:
    """A JSON object whose names are all different, at every depth."""

    def distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        pairs = list(pairs)
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError("a name twice in the header")
        return value

    value = json.loads(text, object_pairs_hook=distinct)
    if not isinstance(value, dict):
        raise ValueError("the header is no object")
    return value


def _check_version(found: object, version: int, kind: str, path: Path, release: object) -> None:
    if type(found) is int and found == version:
        return
    newer = type(found) is int and found > version
    writer = (
        f"agop {release}"
        if isinstance(release, str) and release.isprintable() and len(release) < 30
        else "another agop"
    )
    remedy = (
        f"update agop: {writer} wrote it"
        if newer
        else f"read it with the release that wrote it ({writer}) and save it again with this one"
    )
    got = f"{str(path)!r} of version {_checks.shown(found)}"
    raise _checks.bad_value("path", f"a saved {kind} of format version {version}", got, remedy)


def _tensors(path: Path) -> dict[str, Tensor]:
    import psutil
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > psutil.virtual_memory().available:
        raise ValueError(f"its {path.stat().st_size / 2**30:.1f} GiB do not fit into the free memory")
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(str(path), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a dict
                # a copy: the stored one lives in the file, and dies with it when another program shortens it
                tensors[name] = stored.get_tensor(name).clone()
    except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
        raise ValueError(str(error)) from None
    for name, value in tensors.items():
        if value.dtype not in (torch.float16, torch.float32, torch.float64, torch.int64):
            raise ValueError(f"tensor {_checks.shown(name)} is {str(value.dtype).removeprefix('torch.')}")
    return tensors
