"""Cosines between centred rows, pair by pair."""

from __future__ import annotations

import math


def centred_gram(rows: list[list[float]]) -> list[list[float]]:
    n, d = len(rows), len(rows[0])
    mean = [sum(row[j] for row in rows) / n for j in range(d)]
    centred = [[row[j] - mean[j] for j in range(d)] for row in rows]
    norms = [math.sqrt(sum(v * v for v in row)) for row in centred]
    result = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for k in range(n):
            if norms[i] > 0 and norms[k] > 0:
                result[i][k] = sum(a * b for a, b in zip(centred[i], centred[k], strict=True)) / (
                    norms[i] * norms[k]
                )
    return result
