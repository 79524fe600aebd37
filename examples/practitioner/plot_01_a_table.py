"""
A table: what decides the tip?
==============================

244 bills of a restaurant, noted by one waiter: the total, who paid, smoker or not, day,
lunch or dinner, how many guests, and the tip. From the raw table to a model with an
honest score, and then the question that matters: which columns count, and how?
"""

from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.data
from sklearn.inspection import PartialDependenceDisplay
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

import agop

# %%
# The table comes with plotly. It has no gaps, real tables do: the number of guests is
# forgotten in a tenth of the rows here.

table = plotly.data.tips(return_type="pandas").astype({"size": float})
rng = np.random.default_rng(0)
table.loc[rng.random(len(table)) < 0.1, "size"] = np.nan
print(table.head(3))

# %%
# One call reads the columns, searches, and keeps what predicts best. Texts are categories,
# and a gap stays a gap.

model = agop.fit_table(table, "tip", n_candidates=8, random_state=0)
search = model.estimator
print(f"honest R² {search.oof_score_:.2f} of {len(search.oof_predictions_)} bills")

# %%
# The score is that of predictions of rows which the predicting model has not seen: somewhat
# less than half of the variance of tips can be foretold. Is that much? A straight line
# through the bill alone, judged in the same way, is the thing to beat:

bill, tip = table[["total_bill"]], table["tip"]
line = cross_val_predict(LinearRegression(), bill, tip, cv=5)
print(
    f"a line through the bill: R² {1 - ((tip - line) ** 2).mean() / tip.var():.2f}"
)

# %%
# It is as good, within the error of 244 rows. So the model has found nothing beyond the
# bill, and that is worth knowing: the other columns don't help to foretell a tip.
#
# What counts
# -----------
#
# Importances are shares of the AGOP's diagonal: how much the prediction changes along a
# column, in the column's own spread. A column of categories counts once.

print(model.feature_importances_.round(2))

# %%
# The bill has nine tenths and more, the number of guests most of the rest; who paid, when
# and on which day hardly moves the prediction.
#
# How it counts
# -------------
#
# An importance has no direction. Partial dependence has: the mean prediction, when one
# column is set to a value and all others stay. The encoder of columns and the estimator
# make a pipeline of scikit-learn, so its displays work.

pipeline = make_pipeline(model.encoder, model.estimator)
rows = table.drop(columns="tip").dropna()  # the display can't draw gaps
figure, axes = plt.subplots(
    1, 3, figsize=(10, 3.2), layout="constrained", sharey=True
)
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

with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/tips.safetensors")
    again = agop.load(f"{folder}/tips.safetensors")
visit = {"total_bill": 30.0, "sex": "Female", "smoker": "No", "day": "Sun"}
print(
    again.predict(pd.DataFrame([visit | {"time": "Dinner", "size": 4.0}])).round(2)
)

# %%
# A tip of about four and a half dollars is what the model, read back from its file, expects of a new
# bill of 30. The same from a shell: ``agop rfm --data tips.csv --target tip`` and
# ``agop predict``.
