"""
Trees or RFM?
=============

Boosted trees cut a table along single columns; a Recursive Feature Machine (RFM) is
smooth and learns directions. So each has targets that suit it. Three tables show where
each wins, and how to find out for your own.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

import agop

rng = np.random.default_rng(0)
X = rng.normal(size=(500, 10))
noise = 0.1 * rng.normal(size=500)

# %%
# *Steps*: the target jumps along single columns, as a rule or a tariff does. *Sum*: it is
# a smooth function of sums of columns, as much that is physical is. *Diabetes*: 442 real
# patients, of scikit-learn.

steps = 2.0 * (X[:, 0] > 0.3) + (X[:, 1] > 0) * (X[:, 2] > 0) + noise
total = np.sin(X[:, :4].sum(1)) + np.tanh(X[:, 4] - X[:, 5]) + noise
patients, progress = load_diabetes(return_X_y=True)
tables = {
    "steps": (X, steps),
    "sum": (X, total),
    "diabetes": (StandardScaler().fit_transform(patients), progress),
}
models = {
    "boosted trees": HistGradientBoostingRegressor(random_state=0),
    "RFM": agop.RFMRegressor(),
    "RFM, l1": agop.RFMRegressor(
        kernel="l1", diagonal=True, bandwidth_factor=2.0, n_iter=3
    ),
}

# %%
# All with defaults, and all judged by the same five folds. Beside R² stands its standard
# error, from the squared errors of the rows: without it a difference says nothing.


def score(y: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    lost = (y - predicted) ** 2 / y.var()
    return 1 - lost.mean(), lost.std() / len(y) ** 0.5


found = {}
for table, (points, y) in tables.items():
    for name, model in models.items():
        found[table, name] = score(y, cross_val_predict(model, points, y, cv=5))
        print(f"{table:9} {name:14} R² {found[table, name][0]:.2f}", end=" ")
        print(f"± {found[table, name][1]:.2f}")

# %%
# On the steps the trees are ahead of the RFM by many standard errors: a smooth function
# can't jump. The kernel of absolute differences, ``kernel="l1"``, comes half of the way,
# for its functions bend at single columns. On the sums the RFM is far ahead, because a
# tree needs many cuts for one slanted line. On the patients the RFM is ahead by less.

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for shift, (name, colour) in enumerate(zip(models, ("#0067a5", "#b84a00", "0.6"))):
    values, errors = zip(*(found[table, name] for table in tables))
    places = np.arange(3) + 0.25 * (shift - 1)
    axis.bar(places, values, 0.23, yerr=errors, color=colour, label=name)
axis.set_xticks(range(3), list(tables))
axis.set(ylabel="R² of rows left out")
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# For a table of your own, let `agop.RFMRegressorCV` choose the kernel too, and compare it
# with searched trees on rows that neither has seen. What came out on 16 real tables is
# `stored <../../benchmarks.html#rfm-on-tables>`_.
