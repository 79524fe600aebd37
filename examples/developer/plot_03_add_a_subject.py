r"""
Add a subject
=============

Anything that can say, layer after layer, what goes in, what the feature matrix makes of it, and what comes
out can be profiled: it yields `LayerView` records, and `agop.profile` takes any iterable of them. Tables
and figures need nothing else.

The example is scikit-learn's ``MLPClassifier``, a network that is no torch module.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import agop

# %%
# A layer computes :math:`h \mapsto \sigma(h W + b)` on rows. Its stages are the rows h themselves
# (*input*), what the weights keep of them (*projected*; :math:`h W` has the same distances as
# :math:`h\,(W W^T)^{1/2}`), and what comes out (*output*). The feature matrix in these coordinates is :math:`W W^T`, and
# the AGOP is that of the rest of the network as a function of h.


def mlp_views(model: MLPClassifier, X: np.ndarray) -> Iterator[agop.LayerView]:
    """The layers of a fitted `MLPClassifier` with ReLU units, in order."""
    weights = [torch.as_tensor(W) for W in model.coefs_]
    biases = [torch.as_tensor(b) for b in model.intercepts_]

    def layer(h: torch.Tensor, index: int) -> torch.Tensor:
        h = h @ weights[index] + biases[index]
        return h if index == len(weights) - 1 else h.relu()

    def rest(h: torch.Tensor, first: int) -> torch.Tensor:
        for index in range(first, len(weights)):
            h = layer(h, index)
        return h

    h = torch.as_tensor(X)
    for index, W in enumerate(weights):
        yield agop.LayerView(
            name=f"layer {index + 1}",
            input=h,
            projected=h @ W,
            output=layer(h, index),
            feature_matrix=W @ W.T,
            agop=agop.agop(lambda h, index=index: rest(h, index), h),
        )
        h = layer(h, index)


# %%
# That is all. Before training, and after:

X, y = load_digits(return_X_y=True)
X, y = StandardScaler().fit_transform(X)[:1000], y[:1000]
settings = {"hidden_layer_sizes": (64, 64, 64), "alpha": 1e-3, "random_state": 0}
untrained = MLPClassifier(**settings, max_iter=1, learning_rate_init=1e-9)
trained = MLPClassifier(**settings, max_iter=60)

profiles = {}
for name, model in (("untrained", untrained), ("trained", trained)):
    with warnings.catch_warnings(
        action="ignore"
    ):  # that training did not converge, which is meant
        model.fit(X, y)
    profiles[name] = agop.profile(
        mlp_views(model, X), X, y, measures=["nc1", "nc2", "nfa"]
    )
    print(f"{name}\n{profiles[name]}\n")

# %%
# In the trained network NC1 falls from layer to layer, in the untrained one it stays where
# it was; *nfa* is high in both, so it says less. The classes collapse where the weights
# project; without training they hardly do.

figure, axes = plt.subplots(
    1, 2, figsize=(9, 3.6), layout="constrained", sharey=True
)
for axis, (name, profile) in zip(axes, profiles.items(), strict=True):
    table = profile.to_frame()
    for stage, colour in (
        ("input", "#0067a5"),
        ("projected", "#b84a00"),
        ("output", "#007a5a"),
    ):
        rows = table[table["stage"] == stage]
        axis.plot(rows["layer"], rows["nc1"], "o-", color=colour, label=stage)
    axis.set(title=name, xlabel="layer", yscale="log", xticks=range(1, 5))
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("NC1")
axes[0].legend(frameon=False)
plt.show()

# %%
# What every subject must satisfy is a check in ``tests/conformance/subjects.py``, and it runs on this very
# function: one row per sample in every stage, distinct names, distances of the projected stage that are
# those of the feature matrix, positive semi-definite matrices, finite tables.
