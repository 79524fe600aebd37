r"""
Five faces of neural collapse
=============================

Train a classifier until it makes no mistakes, and go on. The points of a class gather at
their mean (NC1), the means move as far apart as they can (NC2), the classifier's rows
turn towards the means (NC3) and it decides like the nearest mean (NC4); data of no class
come to lie across (NC5). All five are measured here in the last hidden layer, beside
those of the same network before training.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import agop

pixels, digits = load_digits(n_class=4, return_X_y=True)
X = torch.as_tensor(pixels / 16, dtype=torch.float32)
y = torch.as_tensor(digits)

# %%
# A network and its training. Weight decay matters: without it nothing pulls the points of
# a class together once they are all right.

torch.manual_seed(0)
body = nn.Sequential(
    nn.Linear(64, 128, bias=False),
    nn.BatchNorm1d(128),
    nn.ReLU(),
    nn.Linear(128, 64, bias=False),
    nn.BatchNorm1d(64),
    nn.ReLU(),
)
head = nn.Linear(64, 4)


@torch.no_grad()
def features(x: torch.Tensor) -> torch.Tensor:
    return body.eval()(x)


untrained = features(X), head.weight.detach().clone(), head.bias.detach().clone()

parameters = [*body.parameters(), *head.parameters()]
optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 100)
body.train()
for _ in range(100):
    for batch in torch.randperm(len(y)).split(90):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(body(X[batch])), y[batch]).backward()
        optimiser.step()
    schedule.step()
trained = features(X), head.weight.detach(), head.bias.detach()
accuracy = (head(trained[0]).argmax(1) == y).float().mean()
print(f"accuracy on the training points {float(accuracy):.3f}")

# %%
# At 1.000 no point is wrong any more: the rest of the training is collapse. One call
# measures everything, from the features, the labels and the last layer; what lies in no
# class are random images.

noise = torch.rand(500, 64, generator=torch.Generator().manual_seed(1))
other = features(noise)
report = agop.collapse_report(
    trained[0], y, weight=trained[1], bias=trained[2], ood=other
)
before = agop.collapse_report(
    untrained[0], y, weight=untrained[1], bias=untrained[2]
)
for name in ("nc1", "nc2", "nc3", "nc4"):
    print(f"{name}  untrained {before[name]:.3g}  trained {report[name]:.3g}")
print(f"nc5  trained {report['nc5']:.3g}")

# %%
# NC1 to NC3 are distances from collapse: 0 is complete, and all three have fallen, NC1
# the furthest. NC4 is a share of points, and 1 is complete: the untrained classifier
# decides hardly ever like the nearest mean, the trained one practically always. NC5 is
# the cosine between a class mean and the mean of the other data; at 0 they lie across.
# It is the one that doesn't hold here: random images look to this network like some
# digits.
#
# With four classes the simplex can be seen. The means span three dimensions; the picture
# shows the two along which they are spread most.


def flat(rows: torch.Tensor) -> np.ndarray:
    means = torch.stack([rows[y == c].mean(0) for c in range(4)])
    centre = means.mean(0)
    axes = torch.linalg.svd(means - centre, full_matrices=False).Vh[:2]
    return ((rows - centre) @ axes.T).numpy()


figure, panels = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
for panel, (rows, *_), title in zip(
    panels, (untrained, trained), ("before training", "after training")
):
    points = flat(rows)
    for c in range(4):
        panel.scatter(*points[digits == c].T, s=5, label=f"digit {c}")
        panel.plot(*points[digits == c].mean(0), "kx")
    panel.set(title=title, aspect="equal", xticks=[], yticks=[])
panels[1].legend(frameon=False)
plt.show()

# %%
# On the left the classes are clouds around means (crosses) that lie anyhow; on the right
# every class is nearly a point, and the four are corners of a tetrahedron, seen from one
# side.
#
# The report has every measure, with its definition:

print(report)

# %%
# Read it line by line: a name, a number, where collapse lies, and the formula. How the
# words are used is in the `glossary <../../concepts/glossary.html>`_.
