from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import diffusion_mutual_information, diffusion_spectral_entropy
from tests.oracles import spectral_entropy as oracle
from tests.tolerances import IDENTITY, SINGLE

SEEDS = st.integers(0, 2**32 - 1)


def points(seed=0, n=24, d=5, scale=10.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def groups(k, size=12, spread=1e-6):
    """k groups, tight and far at σ = 10."""
    centres = 1000 * torch.eye(k + 1, dtype=torch.float64)[:k]
    return centres.repeat_interleave(size, 0) + spread * points(1, k * size, k + 1, 1.0)


@pytest.mark.parametrize("t", [1, 2, 0.5])
@pytest.mark.parametrize("sigma", [10.0, 3])
def test_entropy_is_that_of_the_walk_by_loops(sigma, t):
    Z = points()
    found = diffusion_spectral_entropy(Z, sigma, t)
    assert found == pytest.approx(oracle.entropy(Z, sigma, t), rel=IDENTITY)
    assert found.defined
    assert found.details == {"sigma": sigma, "t": t, "points": 24, "ceiling": math.log2(24)}


def test_median_is_that_over_pairs_and_said_to_be_a_deviation():
    Z = points()
    found = diffusion_spectral_entropy(Z, "median")
    assert found.details["sigma"] == pytest.approx(oracle.median_distance(Z), rel=IDENTITY)
    assert found == pytest.approx(oracle.entropy(Z, oracle.median_distance(Z)), rel=IDENTITY)
    assert "median (not the paper's)" in found.definition
    assert diffusion_spectral_entropy(Z).definition == "bits, sigma=10, t=1"


@pytest.mark.parametrize(
    ("sigma", "scale"), [("median", oracle.median_distance), ("rms", oracle.rms_distance)]
)
@pytest.mark.parametrize("fraction", [1, 0.25])
def test_relative_bandwidths_are_a_part_of_a_distance(sigma, scale, fraction):
    Z, y = points(), torch.arange(24) % 3
    width = fraction * scale(Z)
    found = diffusion_spectral_entropy(Z, sigma, fraction=fraction)
    assert found.details["sigma"] == pytest.approx(width, rel=IDENTITY)
    assert found == pytest.approx(oracle.entropy(Z, width), rel=IDENTITY)
    assert f"{sigma} (not the paper's)" in found.definition
    for factor in (1e-6, 7.0, 1e9):
        assert diffusion_spectral_entropy(factor * Z + 3, sigma, fraction=fraction) == pytest.approx(
            found, abs=1e-8
        )
    information = diffusion_mutual_information(Z, y, sigma, fraction=fraction)
    assert information == pytest.approx(diffusion_mutual_information(Z, y, width), abs=IDENTITY)


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
def test_equidistant_collapsed_classes_have_the_closed_form(k, ratio):
    """Of classes that collapsed to the vertices of a simplex `ratio` bandwidths apart."""
    Z = 7 * torch.eye(k, dtype=torch.float64).repeat(6, 1)
    expected = oracle.entropy_of_equidistant_classes(k, math.exp(-(ratio**2) / 2))
    assert diffusion_spectral_entropy(Z, 7 * math.sqrt(2) / ratio) == pytest.approx(expected, abs=1e-8)


def test_collapse_is_seen_at_a_quarter_of_the_rms_distance_and_not_at_the_median():
    Z = torch.eye(10, dtype=torch.float64).repeat(6, 1)
    assert diffusion_spectral_entropy(Z, "rms", fraction=0.25) == pytest.approx(math.log2(10), abs=1e-2)
    assert diffusion_spectral_entropy(Z, "median") == pytest.approx(
        oracle.entropy_of_equidistant_classes(10, math.exp(-0.5)), abs=1e-8
    )


@pytest.mark.parametrize("sigma", [10.0, "median"])
def test_information_is_that_by_loops(sigma):
    Z, y = points(), torch.tensor([0] * 12 + [1] * 7 + [2] * 4 + [3])
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(24, generator=generator) for _ in range(4)]
    found = diffusion_mutual_information(Z, y, sigma, random_state=3, draws=4)
    width = oracle.median_distance(Z) if sigma == "median" else sigma
    assert found == pytest.approx(oracle.mutual_information(Z, y, orders, width), rel=IDENTITY)
    assert found.details["single_sample_classes"] == [3]
    assert found == found.details["entropy"] - found.details["conditional_entropy"]


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_far_tight_groups_have_log2_of_their_number(k):
    assert diffusion_spectral_entropy(groups(k)) == pytest.approx(math.log2(k), abs=1e-6)
    assert diffusion_spectral_entropy(groups(k, spread=0)) == pytest.approx(math.log2(k), abs=IDENTITY)
    uneven = groups(k)[: 12 * (k - 1) + 1]  # however many points a group has
    assert diffusion_spectral_entropy(uneven) == pytest.approx(math.log2(k), abs=1e-6)


def test_limits_of_spread():
    Z = points()
    assert diffusion_spectral_entropy(Z * 1e-6) == pytest.approx(0, abs=1e-6)
    assert diffusion_spectral_entropy(Z * 1e6) == pytest.approx(math.log2(24), abs=IDENTITY)


def test_two_points_in_closed_form():
    Z = torch.tensor([[0.0], [20.0]], dtype=torch.float64)
    second = math.tanh(1.0)  # eigenvalues 1 and (1 - g) / (1 + g), g = exp(-2)
    p = 1 / (1 + second)
    expected = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert diffusion_spectral_entropy(Z) == pytest.approx(expected, rel=IDENTITY)


def test_the_spectrum_is_not_that_of_the_doubly_normalised_kernel():
    Z = points(n=12, scale=6.0)
    K = torch.exp(-(torch.cdist(Z, Z) ** 2) / 200)
    K = K / K.sum(1).sqrt() / K.sum(1).sqrt()[:, None]
    values = torch.linalg.eigvals(K / K.sum(1, keepdim=True)).abs()
    other = float(torch.special.entr(values / values.sum()).sum() / math.log(2))
    assert abs(diffusion_spectral_entropy(Z) - other) > 1e-3


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 30), st.sampled_from([10.0, 2.0, "median"]))
def test_order_rotation_and_shift_change_nothing(seed, n, sigma):
    Z = points(seed, n, 4)
    expected = diffusion_spectral_entropy(Z, sigma)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    assert diffusion_spectral_entropy(Z[order], sigma) == pytest.approx(expected, abs=IDENTITY)
    assert diffusion_spectral_entropy(Z @ rotation, sigma) == pytest.approx(expected, abs=IDENTITY)
    assert diffusion_spectral_entropy(Z + 1e6, sigma) == pytest.approx(
        expected, abs=1e-8
    )  # Z is rounded to 1e-10
    assert 0 <= expected <= math.log2(n) + IDENTITY


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.01, 100))
def test_scale_matters_at_a_fixed_sigma_only(seed, scale):
    Z = points(seed)
    assert diffusion_spectral_entropy(scale * Z, "median") == pytest.approx(
        diffusion_spectral_entropy(Z, "median"), abs=IDENTITY
    )
    assert diffusion_spectral_entropy(Z / 10) < diffusion_spectral_entropy(Z) - 0.5


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.permutations([0, 1, 2, 3]))
def test_names_of_classes_and_shift_leave_the_information(seed, names):
    Z = points(seed)
    y = torch.randint(4, (24,), generator=torch.Generator().manual_seed(seed))
    expected = diffusion_mutual_information(Z, y)
    renamed = torch.tensor([7 * name - 100 for name in names], dtype=torch.int16)[y]
    assert diffusion_mutual_information(Z, renamed) == pytest.approx(expected, abs=IDENTITY)
    assert diffusion_mutual_information(Z + 1e6, y) == pytest.approx(expected, abs=1e-8)


def test_collapse_to_class_means_informs_as_much_as_the_labels():
    y = torch.arange(200) % 4
    Z = groups(4, 1, spread=0)[y]
    assert diffusion_mutual_information(Z, y) == pytest.approx(2, abs=IDENTITY)
    chance = torch.arange(200) // 4 % 4  # independent of the groups
    assert diffusion_mutual_information(Z, chance) == pytest.approx(0, abs=0.05)


def test_information_of_noise_is_zero_on_average_because_sizes_match():
    Z = points(5, 300)
    values = []
    for seed in range(10):
        y = torch.randint(10, (300,), generator=torch.Generator().manual_seed(seed))
        values.append(float(diffusion_mutual_information(Z, y, random_state=seed)))
    assert abs(sum(values)) / 10 < 0.05
    assert min(values) < 0  # an estimate, not a bound


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_kind(dtype):
    Z, y = points(), torch.arange(24) % 3
    assert diffusion_mutual_information(Z, y.to(dtype)) == diffusion_mutual_information(Z, y)


@pytest.mark.parametrize("sigma", [10.0, "median", 1e-300, 1e300])
def test_degenerate_sets_have_the_value_of_the_definition(sigma):
    one, equal = points(n=1), points(n=1).repeat(9, 1) + 1e6
    for Z in (one, equal):
        assert diffusion_spectral_entropy(Z, sigma) == 0
        assert diffusion_mutual_information(Z, torch.zeros(len(Z), dtype=torch.int64), sigma) == 0
    assert diffusion_mutual_information(equal, torch.arange(9) % 2, sigma) == 0
    assert diffusion_mutual_information(points(), torch.full((24,), -3), sigma) == 0
    assert diffusion_mutual_information(points(), torch.arange(24), sigma) == 0  # every class of one


def test_median_of_mostly_coincident_points_is_undefined_with_the_reason():
    Z = torch.cat([points(n=1).repeat(9, 1), points(3, 1)])
    for found in (
        diffusion_spectral_entropy(Z, "median"),
        diffusion_mutual_information(Z, torch.arange(10) % 2, "median"),
    ):
        assert math.isnan(found)
        assert "median distance is 0" in found.undefined_because
        assert found.details["sigma"] == 0
    assert diffusion_spectral_entropy(Z, 1e-3) == pytest.approx(1, abs=IDENTITY)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200])
def test_no_square_leaves_the_range(scale):
    assert diffusion_spectral_entropy(points(scale=1.0) * scale) == pytest.approx(
        0 if scale < 1 else math.log2(24), abs=IDENTITY
    )
    tolerance = IDENTITY if scale > 1e-300 else 1e-8
    assert diffusion_spectral_entropy(points() * scale, "median") == pytest.approx(
        diffusion_spectral_entropy(points(), "median"), abs=tolerance
    )


def test_other_dtypes_are_measured_in_double():
    Z = points().float()
    assert diffusion_spectral_entropy(Z) == diffusion_spectral_entropy(Z.double())
    assert diffusion_spectral_entropy(Z + 1000) == pytest.approx(diffusion_spectral_entropy(Z), abs=SINGLE)
    half = points().to(torch.bfloat16)
    assert diffusion_spectral_entropy(half) == diffusion_spectral_entropy(half.double())
    assert diffusion_spectral_entropy(points().requires_grad_()) == diffusion_spectral_entropy(points())


def test_subsample_is_seeded_and_told():
    Z, y = points(n=60), torch.arange(60) % 3
    first, again = (diffusion_spectral_entropy(Z, max_points=20, random_state=4) for _ in range(2))
    assert first == again
    assert first != diffusion_spectral_entropy(Z, max_points=20, random_state=5)
    assert (first.details["points"], first.details["of"]) == (20, 60)
    assert "of" not in diffusion_spectral_entropy(Z, max_points=60).details
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(4))[:20]
    assert first == pytest.approx(diffusion_spectral_entropy(Z[rows]), abs=IDENTITY)
    assert diffusion_spectral_entropy(Z, max_points=None) == diffusion_spectral_entropy(Z)
    generator = torch.Generator().manual_seed(4)
    assert diffusion_spectral_entropy(Z, max_points=20, random_state=generator) == first
    found = diffusion_mutual_information(Z, y, max_points=20)
    assert (found.details["points"], found.details["of"]) == (20, 60)


def test_more_points_than_memory_holds_are_refused_at_once():
    with pytest.raises(ValueError, match="max_points: .*memory, got 2,000,000; take a few thousand"):
        diffusion_spectral_entropy(torch.zeros(2_000_000, 1), max_points=None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_as_on_the_cpu():
    Z, y = points(n=60), torch.arange(60) % 3
    for sigma in (10.0, "median"):
        assert diffusion_spectral_entropy(Z.cuda(), sigma, max_points=40) == pytest.approx(
            diffusion_spectral_entropy(Z, sigma, max_points=40), abs=IDENTITY
        )
        assert diffusion_mutual_information(Z.cuda(), y.cuda(), sigma) == pytest.approx(
            diffusion_mutual_information(Z, y, sigma), abs=IDENTITY
        )


def test_data_and_the_global_generator_are_left_alone():
    Z, y = points(), torch.arange(24) % 3
    kept, state = Z.clone(), torch.random.get_rng_state()
    diffusion_mutual_information(Z, y, max_points=10)
    assert torch.equal(Z, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"Z": torch.full((24, 5), math.nan)}, "Z: expected finite"),
        ({"Z": torch.full((24, 5), math.inf)}, "Z: expected finite"),
        ({"Z": torch.full((24, 5), 1e308, dtype=torch.float64)}, "Z: .*rescale"),
        ({"Z": torch.ones(0, 5), "y": torch.ones(0, dtype=torch.int64)}, "Z: .*one row"),
        ({"Z": torch.ones(24, 0)}, "Z: .*column"),
        ({"sigma": 0.0}, "sigma: .*> 0.*median"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"fraction": 0.25}, "fraction: .*number"),
        ({"fraction": 0, "sigma": "rms"}, "fraction: .*> 0"),
        ({"t": 0}, "t: expected"),
        ({"max_points": 0}, "max_points: .*None"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": 2**64}, "random_state"),
        ({"draws": 0}, "draws"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, word):
    good = {"Z": points(), "y": torch.arange(24) % 3}
    with pytest.raises(ValueError, match=word):
        diffusion_mutual_information(**(good | change))
    change.pop("y", None)
    change.pop("draws", None)
    if change:
        with pytest.raises(ValueError, match=word):
            diffusion_spectral_entropy(**({"Z": good["Z"]} | change))
