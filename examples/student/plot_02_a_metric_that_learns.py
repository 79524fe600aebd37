r"""
A metric that learns: the recursion by hand
===========================================

A Recursive Feature Machine (RFM) is a loop of three lines: fit a kernel machine, take
the AGOP of the fit, measure distances with it. Here the loop is written out with NumPy,
for a target that depends on the *sum* of two inputs, and then compared with
`agop.RFMRegressor`, which does the same.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import agop

rng = np.random.default_rng(1)
X = rng.uniform(-2, 2, (60, 2))
y = np.sin(2.2 * X.sum(1)) + 0.15 * rng.normal(size=60)
new = rng.uniform(-2, 2, (500, 2))
truth = np.sin(2.2 * new.sum(1))
BANDWIDTH, RIDGE = 2.0, 0.01

# %%
# Fit
# ---
#
# The Laplace kernel :math:`k_M(x, z) = e^{-\|x - z\|_M / L}` says how alike two points
# are; :math:`\|x - z\|_M^2 = (x - z)^\top M (x - z)` is a distance in which a direction
# counts as much as the matrix M says. Ridge regression finds the coefficients of
# :math:`f(x) = \sum_j a_j k_M(x, x_j)`.


def distances(A: np.ndarray, B: np.ndarray, M: np.ndarray) -> np.ndarray:
    step = A[:, None] - B[None]
    return np.sqrt(np.einsum("ijk,kl,ijl->ij", step, M, step).clip(0))


def fit(M: np.ndarray) -> np.ndarray:
    K = np.exp(-distances(X, X, M) / BANDWIDTH)
    return np.linalg.solve(K + RIDGE * np.eye(len(X)), y)


def predict(points: np.ndarray, a: np.ndarray, M: np.ndarray) -> np.ndarray:
    return np.exp(-distances(points, X, M) / BANDWIDTH) @ a


# %%
# The AGOP
# --------
#
# The gradient of the fit at :math:`x_i` is :math:`\sum_j a_j k'(r_{ij})/r_{ij}\,
# M (x_i - x_j)` with :math:`k'(r)/r = -e^{-r/L} / (L r)`; a point adds nothing to its own
# gradient. The AGOP is the mean of the gradients' outer products. Its scale doesn't
# matter here, so it is brought to trace 2, which the identity has.


def agop_of(a: np.ndarray, M: np.ndarray) -> np.ndarray:
    r = distances(X, X, M)
    np.fill_diagonal(r, 1)
    weights = -np.exp(-r / BANDWIDTH) / (BANDWIDTH * r)
    np.fill_diagonal(weights, 0)
    step = X[:, None] - X[None]
    gradients = np.einsum("ij,j,ijk->ik", weights, a, step) @ M
    G = gradients.T @ gradients / len(X)
    return G * 2 / np.trace(G)


# %%
# The loop
# --------


def r2(predicted: np.ndarray) -> float:
    return 1 - ((truth - predicted) ** 2).mean() / truth.var()


metrics, scores = [np.eye(2)], []
for _ in range(4):
    M = metrics[-1]
    a = fit(M)
    scores.append(r2(predict(new, a, M)))
    metrics.append(agop_of(a, M))
for step, (M, score) in enumerate(zip(metrics, scores)):
    print(f"fit {step}: M = {M.round(2).tolist()}, R² on new points {score:.3f}")

# %%
# The first metric is the identity: near is near, whatever the direction. After the first
# fit all four entries of M are nearly alike, and such a matrix sees nothing but the sum
# of the inputs. R² rises, most of it with the first metric that was learned.

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
side = np.linspace(-2, 2, 60)
grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
for step, axis in enumerate(axes):
    M = metrics[step]
    picture = predict(grid, fit(M), M).reshape(60, 60)
    axis.imshow(picture, origin="lower", extent=(-2, 2, -2, 2), cmap="RdBu_r")
    axis.scatter(*X.T, s=4, color="black")
    axis.set(title=f"fit {step}: R² {scores[step]:.2f}", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
plt.show()

# %%
# Blobs become stripes: the fit uses points that are far away along the diagonal, because
# the metric says that they are near.
#
# The same from the package
# -------------------------
#
# ``power=0.5`` makes M the AGOP itself, ``scale="trace"`` the same scale; columns and
# targets are left as they are.

model = agop.RFMRegressor(
    n_iter=3,
    power=0.5,
    scale="trace",
    bandwidth=BANDWIDTH,
    ridge=RIDGE,
    scaling="none",
    center_targets=False,
).fit(X, y)
apart = np.abs(model.predict(new) - predict(new, fit(metrics[3]), metrics[3])).max()
print(f"R² {r2(model.predict(new)):.3f}; predictions differ by at most {apart:.0e}")
assert apart < 1e-6

# %%
# The score is that of fit 3, and the predictions agree to the digits of the arithmetic.
# What the package adds is the care: units of columns, categories and gaps, points that
# coincide, memory, a search for the bandwidth and the ridge.
