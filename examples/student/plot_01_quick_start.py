"""
Five minutes
============

A model that was never trained by backpropagation, and the classes of handwritten digits that collapse in
it, layer by layer. Then the same questions about a network of your own.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import agop

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=800, random_state=0, stratify=y
)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

# %%
# A Deep RFM is a scikit-learn classifier. Each of its layers fits a kernel machine, forms the *average
# gradient outer product* (AGOP) of its predictor, :math:`M = \frac1n \sum_i J_i^T J_i`, maps the points to
# :math:`X M^{1/2}` and then through random ReLU features. Nothing else is learned.

model = agop.DeepRFMClassifier(n_layers=6, width=512, random_state=0).fit(
    X_train, y_train
)
print(f"test accuracy {model.score(X_test, y_test):.3f}")

# %%
# Of 100 new digits it gets 96 right: the features that it has made are good ones.
#
# How far has every layer collapsed? NC1 is the spread within classes over the spread between their means,
# NC2 the distance of the class means from a simplex. Every layer has three stages: *input*, *projected* by
# :math:`M^{1/2}`, and *output* of the random features.

profile = agop.profile(model, X_train, y_train)
print(profile)

# %%
# Read it from top to bottom: NC1 falls from 1.58 to below .01, and NC2 falls with it. In
# every row the projection collapses the classes, and the random features give a little of
# it back, which is why *share_projection*, the projection's share of the fall, is above 1.

profile.plot("nc1")
plt.show()

# %%
# What the first layer looks at: the diagonal of its AGOP says how much the predictor depends on each pixel,
# and the leading eigenvectors are the directions in pixel space that it depends on most.

first = next(iter(model.views(X_train)))
M = torch.as_tensor(first.feature_matrix, dtype=torch.float64)
values, vectors = torch.linalg.eigh(M)
figure, axes = plt.subplots(1, 6, figsize=(10, 2.1), layout="constrained")
axes[0].imshow(M.diagonal().reshape(8, 8), cmap="Greys")
axes[0].set_title("diagonal", fontsize=10)
for index, axis in enumerate(axes[1:], start=1):
    vector = vectors[:, -index]
    axis.imshow(
        vector.reshape(8, 8),
        cmap="RdBu_r",
        vmin=-vector.abs().max(),
        vmax=vector.abs().max(),
    )
    axis.set_title(
        f"{float(values[-index] / values.sum()):.0%} of the trace", fontsize=10
    )
for axis in axes:
    axis.set_axis_off()
plt.show()

# %%
# The same function profiles any torch module. This network is not trained: NC1 hardly falls.

torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(64, 128),
    torch.nn.ReLU(),
    torch.nn.Linear(128, 128),
    torch.nn.ReLU(),
    torch.nn.Linear(128, 10),
)
inputs, labels = (
    torch.as_tensor(X_train, dtype=torch.float32),
    torch.as_tensor(y_train),
)
print(agop.profile(network, inputs, labels))

# %%
# After 30 epochs it does, and most of the fall happens where the weights project. ``nfa`` is the
# correlation of the weights' :math:`W^T W` with the square root of the AGOP.

optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
for _ in range(30):
    for batch in torch.randperm(len(inputs)).split(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            network(inputs[batch]), labels[batch]
        ).backward()
        optimizer.step()
print(agop.profile(network, inputs, labels))
