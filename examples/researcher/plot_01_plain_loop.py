"""
A plain training loop, measured as it runs
==========================================

No callback, no framework: a loop of torch, and `agop.Trajectory`, which keeps what
`agop.profile` measures at the steps that you choose. When do the classes collapse, and
in which layer first?
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import agop

pixels, digits = load_digits(return_X_y=True)
X = torch.as_tensor(pixels / 16, dtype=torch.float32)
y = torch.as_tensor(digits)
X, X_new, y, y_new = X[:1000], X[1000:], y[:1000], y[1000:]

torch.manual_seed(0)
net = nn.Sequential()
for number, (d, k) in enumerate(((64, 96), (96, 96), (96, 96)), start=1):
    net.add_module(f"layer{number}", nn.Linear(d, k))
    net.add_module(f"relu{number}", nn.ReLU())
net.add_module("head", nn.Linear(96, 10))

# %%
# Steps are measured where something happens: often in the beginning, rarely later. What
# is recorded leaves the training as it was, weights and random state alike.

EPOCHS, MEASURED = 60, {0, 1, 2, 4, 8, 16, 30, 60}
optimiser = torch.optim.SGD(
    net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3
)
trajectory = agop.Trajectory(X, y, measures=["nc1", "nfa"])
trajectory.record(net, 0)
for epoch in range(1, EPOCHS + 1):
    for batch in torch.randperm(len(X)).split(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
        optimiser.step()
    if epoch in MEASURED:
        trajectory.record(net, epoch)
with torch.no_grad():
    right = net(X_new).argmax(1) == y_new
    print(f"accuracy on new digits {right.float().mean():.3f}")

# %%
# It has learned the task: what follows is about a network that works. Everything that was
# measured is a table, one number a row.

frame = trajectory.to_frame()
whole = frame[frame["measure"] == "accuracy"]
print(whole[["step", "value"]].to_string(index=False))

# %%
# On the measured points it is near 1 from epoch 16 on: from there on there is little left
# to learn about the answers.

outputs = frame[(frame["measure"] == "nc1") & (frame["stage"] == "output")]
print(outputs.pivot(index="step", columns="name", values="value").round(3))

# %%
# Read a column from top to bottom: NC1, the spread within classes over the spread between
# them, falls as long as the mistakes do, and little after that; a learning rate that stays
# keeps the points moving (with one that decays it goes on falling: the next example). Read
# the last row: the later the layer, the smaller.

trajectory.plot("nc1", stage="output")
plt.show()

# %%
# The same figure against the layer, a line a step: the untrained network (step 0) is flat,
# so the slope is what was learned.

trajectory.plot("nc1", stage="output", against="layer")
plt.show()

# %%
# And the ansatz, the correlation of :math:`W^\top W` with the root of the AGOP. It begins
# high in an untrained network, so its *change* is what to read.

nfa = frame[frame["measure"] == "nfa"].pivot(
    index="step", columns="name", values="value"
)
print(nfa.loc[[0, EPOCHS]].round(2))
