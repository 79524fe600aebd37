"""Files that went wrong on purpose: bytes, the table of a safetensors file, or JSON anywhere, changed at random.

A mutant is a function of the sound file and of a random generator alone, so a seed brings a finding back.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

import safetensors.torch

from agop._store import digest

KEY = "agop"
ATOMS: list[Any] = [
    -1, 0, 1, 2, 7, 2**31, 2**62, 2**63, 2**64, 1e308, -1e-320, float("nan"), float("inf"), "", "..", "../../x", "/dev/zero",
    "\n\x00", "é\ud800", "A" * 3000, None, True, [], {}, [[]], [1, "a", None], {"kernel": "laplace", "bandwidth": 1e-300},
    {"kernel": "os.system"}, "F64", "F16", "I64", "BOOL", "BF16", "float32", "__class__", "predict", "cuda", "object",
]  # fmt: skip
LENGTHS = (0, 1, 7, 2**24, 2**31, 2**63, 2**64 - 1)


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut out, doubled, or put in."""
    raw = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        # half of the time in the first 400 bytes, where lengths and names are
        at = rng.randrange(min(len(raw), 400) if rng.random() < 0.5 else len(raw)) if raw else 0
        kind = rng.randrange(5)
        if kind == 0 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 1 and raw:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del raw[at : at + rng.choice((1, 8, 200))]
        elif kind == 3:
            raw[at:at] = rng.randbytes(rng.choice((1, 8, 64)))
        elif rng.random() < 0.3:
            del raw[at:]
    return bytes(raw)


def damaged_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value in which one place, at any depth, holds something else, lacks, or has a new neighbour."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        copy, name = dict(value), rng.choice(list(value))
        action = rng.random()
        if action < 0.1:
            del copy[name]
        elif action < 0.2:
            copy[str(rng.choice(ATOMS))] = copy[name]
        elif action < 0.25:
            copy[str(rng.choice(ATOMS))] = copy.pop(name)
        else:
            copy[name] = damaged_json(value[name], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.8:
        copy_list, at = list(value), rng.randrange(len(value))
        action = rng.random()
        if action < 0.15:
            del copy_list[at]
        elif action < 0.3:
            copy_list.insert(at, copy_list[at])
        else:
            copy_list[at] = damaged_json(value[at], rng)
        return copy_list
    return rng.choice(ATOMS)


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The table of a safetensors file, our header in it, and the tensors' bytes."""
    length = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + length])
    return table, json.loads(table["__metadata__"][KEY]), content[8 + length :]


def joined(table: Any, header: Any, data: bytes) -> bytes:
    """The file of these parts, its content hash forged; a header that is a text goes in as it is."""
    text = header if isinstance(header, str) else json.dumps(header)
    metadata = table.get("__metadata__") if isinstance(table, dict) else None
    if isinstance(metadata, dict):
        table = table | {"__metadata__": metadata | {KEY: text}}
        with contextlib.suppress(Exception):  # of tensors that can't be read, no hash can be forged
            raw = json.dumps(table).encode()
            tensors = safetensors.torch.load(len(raw).to_bytes(8, "little") + raw + data)
            table["__metadata__"]["digest"] = digest({KEY: text}, tensors)
    raw = json.dumps(table).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def damaged_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A mutant of a file that `agop` saved."""
    kind = rng.random()
    if kind < 0.3:
        return damaged_bytes(content, rng)
    table, header, data = parts(content)
    if kind < 0.6:
        return joined(table, damaged_json(header, rng), data)
    if kind < 0.85:
        return joined(damaged_json(table, rng), header, data)
    if kind < 0.9:
        return rng.choice(LENGTHS).to_bytes(8, "little") + content[8:]
    if kind < 0.95:  # numbers that are none
        at = rng.randrange(max(1, len(data) // 8)) * 8
        return joined(
            table, header, data[:at] + rng.choice((b"\xff" * 8, b"\0\0\xc0\x7f" * 2)) + data[at + 8 :]
        )
    depth = rng.choice((100, 5_000, 200_000))
    return joined(table, rng.choice(("[", '{"a":')) * depth, data)


def damaged_json_file(content: bytes, rng: random.Random) -> bytes:
    """A mutant of a JSON file."""
    if rng.random() < 0.4:
        return damaged_bytes(content, rng)
    if rng.random() < 0.05:
        return b"[" * rng.choice((10, 2_000, 200_000))
    return json.dumps(damaged_json(json.loads(content), rng)).encode("utf-8", "surrogatepass")


def damaged_csv(content: bytes, rng: random.Random) -> bytes:
    """A mutant of a table: bytes, or one cell that holds something else."""
    if rng.random() < 0.4:
        return damaged_bytes(content, rng)
    lines = [line.split(",") for line in content.decode().splitlines()]
    line = rng.choice(lines)
    line[rng.randrange(len(line))] = str(rng.choice(ATOMS)).replace("\ud800", "")
    if rng.random() < 0.2:
        lines.append(list(rng.choice(lines)))
    return "\n".join(",".join(cells) for cells in lines).encode()


Mutation = Callable[[bytes, random.Random], bytes]
