"""
Deep RFM as a feature extractor
===============================

`DeepRFMClassifier` is a transformer too: in a pipeline it hands on the features of its last layer.
Pipelines, grid search and cross-validation take it like any estimator of scikit-learn.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import agop

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=500, random_state=0, stratify=y
)

# %%
# Logistic regression on pixels, and on what three layers make of them.

plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(
    X_train, y_train
)
deep = make_pipeline(
    StandardScaler(),
    agop.DeepRFMClassifier(n_layers=3, width=512, random_state=0),
    LogisticRegression(max_iter=2000),
).fit(X_train, y_train)
print(f"pixels    {plain.score(X_test, y_test):.3f}")
print(f"features  {deep.score(X_test, y_test):.3f}")

# %%
# How many layers? A grid search knows the names of the parameters.

search = GridSearchCV(
    deep, {"deeprfmclassifier__n_layers": [1, 2, 3, 4, 6]}, cv=3
).fit(X_train, y_train)
print(search.best_params_, f"{search.score(X_test, y_test):.3f}")

# %%
# ``transform(X, layer=l)`` gives any layer of a fitted model, and ``agop.nc1`` how far the classes have
# drawn together there. Training points go on collapsing; points that the model has not seen follow for a
# few layers only. More layers are not better features.

model = agop.DeepRFMClassifier(n_layers=8, width=512, random_state=0)
scaler = StandardScaler().fit(X_train)
model.fit(scaler.transform(X_train), y_train)

layers = np.arange(1, 9)
nc1 = {"training points": [], "test points": []}
accuracy = []
for layer in layers:
    train, test = (
        model.transform(scaler.transform(points), layer=layer - 1)
        for points in (X_train, X_test)
    )
    for name, features, labels in (
        ("training points", train, y_train),
        ("test points", test, y_test),
    ):
        moments = agop.ClassMoments.of(
            torch.as_tensor(features), torch.as_tensor(labels)
        )
        nc1[name].append(float(agop.nc1(moments)))
    accuracy.append(
        LogisticRegression(max_iter=2000).fit(train, y_train).score(test, y_test)
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (name, values), colour in zip(nc1.items(), ("#0067a5", "#b84a00"), strict=True):
    left.plot(layers, values, "o-", color=colour, label=name)
left.set(yscale="log", xlabel="layer", title="NC1 of the features")
left.legend(frameon=False)
right.plot(layers, accuracy, "o-", color="#b84a00")
right.axhline(plain.score(X_test, y_test), color="0.4", linestyle="--")
right.annotate(
    "on pixels",
    (8, plain.score(X_test, y_test)),
    xytext=(0, 4),
    textcoords="offset points",
    ha="right",
)
right.set(xlabel="layer", title="test accuracy on the features")
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
plt.show()
