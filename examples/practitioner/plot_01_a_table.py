"""
A table: what decides the tip?
==============================

244 bills of a restaurant, noted by one waiter: the total, who paid, smoker or not, day,
lunch or dinner, how many guests, and the tip. From the raw table to a model with an
honest score, and then the question that matters: which columns count, and how?
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import plotly.data
from sklearn.inspection import PartialDependenceDisplay
from sklearn.pipeline import make_pipeline

import agop

# %%
# The table comes with plotly. It has no gaps, real tables do, so a tenth of the guests
# are forgotten here; every sixth row is put away until the end.

table = plotly.data.tips(return_type="pandas").astype({"size": float})
rng = np.random.default_rng(0)
table.loc[rng.random(len(table)) < 0.1, "size"] = np.nan
held_out, table = table.iloc[::6], table.drop(index=table.index[::6])
print(table.head(3))

# %%
# One call reads the columns, searches, and keeps what predicts best. Texts are categories,
# and a gap stays a gap.

model = agop.fit_table(table, "tip", n_candidates=8, random_state=0)
for note in model.notes:
    print(note)
search = model.estimator
print(f"honest R² {search.oof_score_:.2f}; best single model {search.best_params_}")

# %%
# The honest score is that of predictions of rows which the predicting model has not seen:
# somewhat less than half of the variance of tips can be foretold. The rows that were put
# away are the check; there are 41 of them, so their R² is uncertain by a tenth and more.

print(f"R² on the rows put away {model.score(held_out):.2f}")

# %%
# What counts
# -----------
#
# Importances are shares of the AGOP's diagonal: how much the prediction changes along a
# column, in the column's own spread. A column of categories counts once.

print(model.feature_importances_.round(2))

# %%
# The bill comes first, as everyone would have guessed, then the number of guests; who
# paid, when and on which day hardly moves the prediction.
#
# How it counts
# -------------
#
# An importance has no direction. Partial dependence has: the mean prediction, when one
# column is set to a value and all others stay. The encoder of columns and the estimator
# make a pipeline of scikit-learn, so its displays work.

pipeline = make_pipeline(model.encoder, model.estimator)
rows = table.drop(columns="tip").dropna()
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
PartialDependenceDisplay.from_estimator(
    pipeline,
    rows,
    ["total_bill", "size", "day"],
    categorical_features=["day"],
    grid_resolution=15,
    ax=axes,
)
plt.show()

# %%
# The tip grows with the bill, less than in proportion at its upper end; guests add a
# little beyond what they add to the bill; between the days there is nothing to see.
#
# Keep it
# -------

model.save("tips.safetensors")
again = agop.load("tips.safetensors")
print(again.predict(held_out.head(3)).round(2), held_out["tip"].head(3).tolist())

# %%
# On the left three predictions of the model that was read back from its file, on the right
# what the waiter got. The same from a shell: ``agop rfm --data tips.csv --target tip`` and
# ``agop predict``.
