r"""
Stars in noise: a metric of patches
===================================

Is there a star in the image? The star may be anywhere, so that no pixel tells. `ConvRFMClassifier` compares images patch
by patch, and learns which directions of a patch matter: the metric M of patches is the average of
:math:`\nabla f \nabla f^T` over all patches of the training images. It learns from 60 images here, about as few as in
Beaglehole et al. 2023 (arXiv 2309.00570).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

import agop
from agop.datasets import load
from agop.report import energy_maps, filter_grid

# %%
# Star images: in every second one there is a star, at a random place, yellow in noise of all colours.

data = load("stars", n_train=60, n_test=200, parameters={"side": 20})
X, X_test = (
    torch.from_numpy(rows.reshape(-1, *data.shape))
    for rows in (data.x_train, data.x_test)
)
print(data.source)

# %%
# The line says where the images come from, so that they can be made again.
#
# The iteration is chosen without a validation set: by leave-one-out values of images that M has not seen
# ("cross-fitted"). It has to be chosen: the second iteration loses what the first has gained. The test images have no
# part in that.

model = agop.ConvRFMClassifier(
    depth=1, patch_size=9, n_iter=2, validation="cross-fitted", random_state=0
)
model.fit(X, data.y_train)
fixed = agop.ConvRFMClassifier(depth=1, patch_size=9, n_iter=0).fit(X, data.y_train)
last = agop.ConvRFMClassifier(depth=1, patch_size=9, n_iter=2).fit(X, data.y_train)

print(
    "leave-one-out accuracy by iteration:",
    [round(score, 3) for score in model.cross_fitted_scores_],
)
print("chosen iteration:", model.best_iteration_)
for name, machine in (
    ("fixed kernel", fixed),
    ("chosen", model),
    ("two iterations", last),
):
    print(f"test accuracy, {name}: {machine.score(X_test, data.y_test):.3f}")

# %%
# The first learned metric is right on 95 of 100 new images, the fixed kernel on 88; the
# second iteration is no better than the start, and leave-one-out knew that beforehand.
#
# What it looks for: the top eigenvectors of M as small images. Mid-grey is zero. The first one, with a third of the
# trace, is yellow all over: is there a star anywhere in the patch? The next ones set one side of a patch against the
# other, yellow against the lack of it.

found = agop.patch_filters(model.agop_, channels=3, n=6)
shares = {"M": found.shares.numpy()}
filter_grid(
    {"M": found.filters.numpy()},
    shares=shares,
    title="Top eigenvectors of M",
    figure=plt.figure(),
)
plt.show()

# %%
# Where it looks: the energy :math:`x_p^T M x_p` of the patches, as a mean over those that contain a pixel. With the
# identity in the place of M the noise shines everywhere.

shown = X_test[:6]
maps = {
    "M": agop.patch_energy(model.agop_, shown).numpy(),
    "identity": agop.patch_energy(torch.eye(len(model.agop_)), shown).numpy(),
}
energy_maps(
    shown.numpy(),
    maps,
    title="Energy of the patches in six test images",
    figure=plt.figure(),
)
plt.show()

# %%
# On the command line: ``agop conv-rfm --data stars --n-train 50 --patch-size 11 --choose cross-fitted``. `agop
# reproduce beaglehole2023` decides with seeds and controls what is seen here once.
