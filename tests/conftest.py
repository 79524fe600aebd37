"""What all tests share: shapes checked at run time, figures in fewer formats, generators left as they were."""

from __future__ import annotations

import signal

import jaxtyping
import pytest
import torch

from tests import typechecking

# a shell starts background jobs with SIGINT ignored, and what they start inherits that: tests of Ctrl-C must hear it
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    distributes = bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")
    if not distributes:  # the process that hands tests out runs none
        typechecking.install()


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
