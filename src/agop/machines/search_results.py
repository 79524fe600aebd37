"""What a search tried and found, in the form of scikit-learn's `cv_results_`."""

from __future__ import annotations

from typing import Any

import numpy as np

from agop.machines.race import Trial
from agop.machines.search import Choice, Search, candidates
from agop.machines.storing_search import with_columns


def search_results(trials: list[Trial], choice: Choice, search: Search) -> dict[str, Any]:
    """What was tried, in the form of scikit-learn's searches."""
    tried = candidates(trials)
    folds = search.rows.folds
    split = np.full((folds, len(tried)), np.nan)
    for k in range(folds):
        criterion = search.criterion.take(search.rows.held(k))
        for column, candidate in enumerate(tried):
            if candidate.has(k):
                split[k, column] = criterion.score(search.units(candidate.in_fold(k)))
    known = {(c.trial.number, c.iteration, c.ridge): k for k, c in enumerate(choice.pool)}
    place = np.array([known.get((c.trial.number, c.iteration, c.ridge), -1) for c in tried])
    mean = split.mean(0)
    counted = np.isfinite(split).sum(0)
    order = np.lexsort(
        (
            -np.where(np.isfinite(split[0]), split[0], -np.inf),
            -np.nan_to_num(mean, nan=-np.inf),
            np.where(place < 0, len(tried), place),
        )
    )
    rank = np.empty(len(tried), dtype=np.int32)
    rank[order] = np.arange(1, len(tried) + 1)
    columns: dict[str, Any] = {
        **with_columns([candidate.params for candidate in tried]),
        **{f"split{k}_test_score": split[k] for k in range(folds)},
        "mean_test_score": mean,
        "std_test_score": split.std(0),
        "rank_test_score": rank,
        "n_folds": counted,
        "recursion": np.array([candidate.trial.number for candidate in tried]),
        "recursion_time": np.array([candidate.trial.seconds for candidate in tried]),
        "weight": np.where(place < 0, 0.0, choice.weights.numpy()[place]),
    }
    return columns
