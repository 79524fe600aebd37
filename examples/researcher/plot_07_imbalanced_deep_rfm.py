r"""
Imbalanced Deep RFM
===================

A deep linear network over free features, trained on classes of unequal size, collapses to a *general orthogonal frame*: class means are
orthogonal, and small classes have longer ones (Dang et al. 2023, `agop.deep_linear_collapse`). Deep RFM has neither weights that are
decayed nor features that are free. Do the norms of its class means follow the same law?
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

import agop

X, y = load_digits(return_X_y=True)
X = (X - X.mean(0)) / X.std()
COUNTS = np.geomspace(120, 12, 10).round().astype(int)
LAYERS = 6

# %%
# What the theory says: with small decays, the squared norm of the mean of class k goes like a power of the class size,
# :math:`\|\bar h_k\|^2 \propto n_k^{-M/(M+1)}` for M linear layers. The slope can be read off the closed form.


def slope(counts: np.ndarray, squared_norms: np.ndarray) -> float:
    """Of log squared norm against log count."""
    return float(np.polyfit(np.log(counts), np.log(squared_norms), 1)[0])


theory = {}
for depth in (1, 2, 3):
    found = agop.deep_linear_collapse(
        COUNTS, n_layers=depth, weight_decay=1e-5, feature_decay=1e-5
    )
    theory[depth] = found.layer_means(1).square().sum(1).numpy()
    print(
        f"theory, M = {depth}: slope {slope(COUNTS, theory[depth]):+.2f}, "
        f"expected {-depth / (depth + 1):+.2f}"
    )
    assert abs(slope(COUNTS, theory[depth]) + depth / (depth + 1)) < 0.1

# %%
# The slopes of the closed form are those of the power law, to two digits.
#
# Deep RFM on digits, tenfold imbalanced. Which digit is rare is drawn anew for every repetition, so that what a
# digit looks like does not pass for the size of its class. As a control, the same with equal counts, set against
# the sizes that were not used. Means are taken about the origin, as in the theory.


def norms(counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared norms (layer, class) of projected class means, their mean cosine."""
    rng = np.random.default_rng(seed)
    digits = rng.permutation(10)
    rows = [
        rng.permutation(np.flatnonzero(y == digit))[:n]
        for digit, n in zip(digits, counts, strict=True)
    ]
    points, labels = X[np.concatenate(rows)], np.repeat(np.arange(10), counts)
    model = agop.DeepRFMClassifier(
        n_layers=LAYERS, width=512, random_state=seed
    ).fit(points, labels)
    squared, cosines = [], []
    for view in model.views(points):
        features = torch.as_tensor(view.projected).double()
        means = torch.stack([features[labels == k].mean(0) for k in range(10)])
        squared.append(means.square().sum(1).numpy())
        unit = torch.nn.functional.normalize(means)
        cosines.append(float((unit @ unit.T).fill_diagonal_(0).sum() / 90))
    return np.array(squared), np.array(cosines)


runs = {
    "imbalanced": [norms(COUNTS, seed) for seed in range(3)],
    "balanced": [norms(np.full(10, COUNTS.sum() // 10), seed) for seed in range(3)],
}
slopes = {
    name: np.array(
        [[slope(COUNTS, layer) for layer in squared] for squared, _ in found]
    )
    for name, found in runs.items()
}
for name, values in slopes.items():
    cosine = np.mean([cosines[-1] for _, cosines in runs[name]])
    last = values[:, -1]
    print(
        f"Deep RFM, {name}: slope in the last layer "
        f"{last.mean():+.2f} ± {last.std(ddof=1):.2f}, mean cosine {cosine:.2f}"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for depth, squared in theory.items():
    left.plot(COUNTS, squared / squared[0], color="0.6", linewidth=1)
    left.text(
        COUNTS[-1] * 0.95,
        squared[-1] / squared[0],
        f"M = {depth}",
        color="0.4",
        ha="right",
        va="center",
    )
left.text(30, 3.3, "theory", color="0.4")
for squared, _ in runs["imbalanced"]:
    left.plot(
        COUNTS,
        squared[-1] / squared[-1][0],
        "o-",
        color="#0067a5",
        linewidth=1,
        markersize=4,
    )
left.text(30, 0.63, "Deep RFM, three draws", color="#0067a5")
left.set(
    xscale="log", yscale="log", xlim=(8, 140), ylim=(0.5, 8),
    xlabel="points of the class", title="last layer",
    ylabel="squared norm of its mean / largest class's",
)  # fmt: skip
left.set_xticks([12, 25, 50, 120], ["12", "25", "50", "120"])
left.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
left.minorticks_off()
for (name, values), colour in zip(
    slopes.items(), ("#0067a5", "#b84a00"), strict=True
):
    spread = values.std(0, ddof=1)
    right.errorbar(
        range(1, LAYERS + 1),
        values.mean(0),
        spread,
        color=colour,
        marker="o",
        capsize=3,
        label=name,
    )
right.axhline(-0.5, color="0.6", linewidth=1)
right.text(LAYERS, -0.48, "theory, M = 1", color="0.4", ha="right", va="bottom")
right.set(
    xlabel="layer", ylabel="slope of log norm² against log count", title="by layer"
)
right.legend(frameon=False)
plt.show()

# %%
# They do not. In the first layers small classes have slightly *shorter* means, the opposite of the law. In the last
# one the slope is 0.06 ± 0.04, against 0.01 ± 0.04 in the control, and the mean cosine between class means is about
# :math:`-1/9`, that of a simplex of ten classes, not the 0 of orthogonal ones. By these two numbers Deep RFM brings
# imbalanced classes to the frame of balanced ones, and no class is lost. Two of its steps leave little room for
# anything else: rows have norm 1 before each projection, and its kernel machine fits every point with hardly any
# ridge, however many others its class has. This is one data set, one imbalance and one ridge: an observation.

last = {name: values[:, -1].mean() for name, values in slopes.items()}
assert abs(last["imbalanced"]) < 0.25, "far from the theory's -0.5"
