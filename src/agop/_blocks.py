"""Row blocks under a memory budget: the only chunking code of the package."""

from __future__ import annotations

from collections.abc import Iterator

DEFAULT_BLOCK_BYTES = 256 * 2**20
"""Working memory, in bytes, that one block of rows may take unless the caller says otherwise."""


def rows_per_block(n_rows: int, bytes_per_row: int, budget: int = DEFAULT_BLOCK_BYTES) -> int:
    """How many rows of `bytes_per_row` bytes fit into `budget` bytes: at least 1, at most `n_rows`."""
    return max(1, min(n_rows, budget // max(1, bytes_per_row)))


def row_blocks(n_rows: int, block: int) -> Iterator[slice]:
    """Slices of at most `block` rows that cover `range(n_rows)` in order, sized as evenly as possible.

    >>> list(row_blocks(5, 2))
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    if n_rows <= 0:
        return
    count = -(-n_rows // block)
    for index in range(count):
        yield slice(n_rows * index // count, n_rows * (index + 1) // count)
