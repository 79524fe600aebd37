"""Registries: names at once, modules on first use, and other packages' entry points."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

import agop
from agop import PROBES
from agop.probes import PROBES as ROOM
from agop.registry import Registry


@pytest.fixture(params=["standard", "backport"])
def plugin(request, tmp_path, monkeypatch):
    """A package on the path that registers what it is told to, found by the standard library or by the backport that dask brings."""
    if request.param == "backport":
        pytest.importorskip("importlib_metadata")  # from here on it answers for the whole process

    def install(entry_points, code=""):
        (tmp_path / "own_plugin.py").write_text(code, encoding="utf-8")
        info = tmp_path / "own_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: own-plugin\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_plugin", raising=False)

    return install


def test_names_are_known_before_anything_is_imported():
    registry = Registry(None, {"big": "no_such_module:thing", "root": "math:sqrt"})
    assert list(registry) == ["big", "root"]
    assert "big" in registry
    assert registry["root"](9.0) == 3.0
    assert registry.lines == {"big": "no_such_module:thing"}
    with pytest.raises(KeyError):
        registry["other"]
    with pytest.raises(ModuleNotFoundError):
        registry["big"]


def test_a_value_of_ones_own_is_added_and_taken_out():
    registry = Registry(None, {"root": "math:sqrt"})
    registry.add("two", 2)
    assert registry["two"] == 2
    assert registry.own == ("root",)
    with pytest.raises(ValueError, match="name: expected one that is free, got 'two'"):
        registry.add("two", 3)
    registry.remove("two")
    with pytest.raises(ValueError, match="the package's own"):
        registry.remove("root")
    assert list(registry) == ["root"]


def test_plug_ins_come_behind_the_own_names(plugin):
    plugin("[tests.things]\nanswer = own_plugin:ANSWER\n", "ANSWER = 42")
    registry = Registry("tests.things", {"root": "math:sqrt"})
    assert list(registry) == ["root", "answer"]
    assert "own_plugin" not in sys.modules
    assert registry["answer"] == 42
    assert registry.own == ("root",)
    assert dict(registry.items())["answer"] == 42


def test_a_broken_plug_in_is_named_and_costs_nothing_else(plugin):
    plugin(
        "[tests.things]\nbroken = own_plugin:ANSWER\nroot = own_plugin:OTHER\n",
        "raise RuntimeError('no luck')",
    )
    registry = Registry("tests.things", {"root": "math:sqrt"})
    with pytest.warns(
        RuntimeWarning, match=r"the plug-in 'root' of own-plugin .* takes a name that is there already"
    ):
        assert list(registry) == ["root", "broken"]
    with pytest.warns(RuntimeWarning, match=r"the plug-in 'broken' of own-plugin .*RuntimeError: no luck"):
        assert list(registry.loaded()) == ["root"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(registry) == ["root"]
        assert registry["root"](4.0) == 2.0


def test_a_probe_of_another_package_is_measured(plugin, monkeypatch):
    code = """
from agop import Probe
PEAK = Probe(name="peak", label="largest entry", measure=lambda e: float(e.rows.max()), needs="rows")
"""
    plugin("[agop.probes]\npeak = own_plugin:PEAK\nbad = no_such_module:X\n", code)
    for name in ("peak", "bad"):
        monkeypatch.delitem(ROOM._lines, name, raising=False)
    monkeypatch.setattr(ROOM, "_searched", False)
    x, y = torch.randn(12, 3), torch.arange(12) % 2
    with pytest.warns(RuntimeWarning, match="the plug-in 'bad' of own-plugin"):
        p = agop.profile(torch.nn.Linear(3, 2), x, y, measures=["nc1", "peak"])
    assert p.table["peak"].iloc[0] == pytest.approx(float(x.max()))
    assert p.look("peak").label == "largest entry"
    for name in ("peak", "bad"):
        ROOM._lines.pop(name, None)
    assert "peak" not in PROBES
