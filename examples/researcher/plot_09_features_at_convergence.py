r"""
Has a layer converged? FACT beside the ansatz
=============================================

Where the loss and the weight decay of a network are at balance, what a layer keeps is known: :math:`W^T W = -\frac{1}{n\lambda} \sum_i
(\nabla_h \ell_i) h_i^T`, the features at convergence theorem (Boix-Adserà et al. 2025, arXiv 2507.05644). The residual says how far
a layer is from it, in one backward pass for all layers. The neural feature ansatz compares :math:`W^T W` with the AGOP, and is high long
before. The same theorem makes a recursive feature machine: `update="fact"`.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits, make_friedman1
from torch import nn

import agop

# %%
# A network on the digits, trained on all points at once with SGD, momentum and weight decay.

X, y = load_digits(return_X_y=True)
X = torch.as_tensor((X - X.mean(0)) / (X - X.mean(0)).std(), dtype=torch.float32)[
    :400
]
y = torch.as_tensor(y)[:400]
torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
)
optimizer = torch.optim.SGD(
    net.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-3
)

epochs, residuals, ansatz = [], [], []
for epoch in range(601):
    if epoch % 50 == 0 and epoch:
        found = agop.fact(net, X, y, optimizer=optimizer)
        epochs.append(epoch)
        residuals.append([float(value) for value in found.residuals.values()])
        ansatz.append(
            agop.profile(net, X, y, measures=["nfa"]).layers["nfa"].to_list()
        )
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(X), y).backward()
    optimizer.step()
print(found)
print(found.notes)

# %%
# The ansatz is high when the residual of FACT still says that nothing has come to rest.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for axis, values, label in (
    (axes[0], residuals, "FACT residual"),
    (axes[1], ansatz, "NFA correlation"),
):
    for number, curve in enumerate(np.array(values).T, start=1):
        axis.plot(epochs, curve, marker="o", label=f"layer {number}")
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
axes[0].set_yscale("log")
axes[1].set_ylim(0, 1)
axes[1].legend(frameon=False)

# %%
# With decoupled decay there is no loss that the theorem could be about, and it says so.

adamw = torch.optim.AdamW(net.parameters(), weight_decay=0.1)
print(repr(agop.fact(net, X, y, optimizer=adamw).residuals["0"]))

# %%
# A feature machine that learns its metric from FACT, on a function of five columns among thirty.

x, target = make_friedman1(n_samples=800, n_features=30, noise=1.0, random_state=0)
for update in ("agop", "fact", "fact-geometric"):
    model = agop.RFMRegressor(update=update, n_iter=5).fit(x[:400], target[:400])
    top = np.sort(np.argsort(model.feature_importances_)[-5:])
    print(
        f"{update:15s} R² {model.score(x[400:], target[400:]):.3f}, "
        f"columns {top.tolist()}"
    )
