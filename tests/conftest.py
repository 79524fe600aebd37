"""Shapes and types of every agop function are checked at run time in the tests, and free in production."""

from __future__ import annotations

import signal

import jaxtyping
import pytest
from jaxtyping import install_import_hook

import tests.typechecking  # noqa: F401 - the hook finds it as an attribute of the package

with install_import_hook("agop", "tests.typechecking.check"):
    import agop

    for name in agop.__all__:  # imported on first use: here, while the hook is on
        getattr(agop, name)

import torch

# a shell starts background jobs with SIGINT ignored, and what they start inherits that: tests of Ctrl-C must hear it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _figures_in_one_format():
    """PDF is half of the time that a figure takes: only tests with `all_formats` write it (in this process)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agop.report.figures.FORMATS", ("png", "svg"))
        yield


@pytest.fixture
def all_formats(monkeypatch):
    """Figures as they are written outside of tests."""
    monkeypatch.setattr("agop.report.figures.FORMATS", ("png", "svg", "pdf"))


@pytest.fixture(autouse=True)
def _global_generators_stay_untouched(request):
    """No test may leave the global torch generator in another state: the library never reseeds it."""
    before = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(before)


@pytest.fixture
def as_in_production():
    """Bad input meets the library as users run it: without the run-time type checks, which would refuse it first."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
