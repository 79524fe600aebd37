"""What a study may be: data that it generates, no data at all, claims and figures about several data sets, parts, sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest

from agop.experiments.drawing import Above, Curve, Drawing, Line, Pick
from agop.experiments.planning import choices, data_of, plan
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.studies import STUDIES, every
from agop.experiments.study import Study
from agop.experiments.tables import read_table, write_table
from agop.experiments.units import Unit
from agop.registry import Registry
from agop.report.drawing import plates
from agop.report.reproduction import write_reproduction
from tests.conformance.studies import check_study
from tests.experiments import toy
from tests.experiments.tiny import tiny


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(STUDIES._lines, "toy2024", toy.STUDY)


@pytest.mark.parametrize("study", list(every()), ids=lambda study: study.name)
def test_every_study_is_complete(study):
    check_study(study)


def test_listing_studies_waits_for_neither_torch_nor_matplotlib():
    program = (
        "import sys; from agop.experiments.studies import STUDIES, every; names = list(STUDIES)\n"
        "assert not {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules), 'names'\n"
        "assert [s.name for s in every() if s.name in STUDIES.own] == list(STUDIES.own)\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'studies'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES._lines, "toy2024", toy.STUDY)
        return out, toy.run(out)


def test_generated_points_and_units_without_any(done):
    out, result = done
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    assert len(result.outcomes) == 2 * 5
    folders = {folder.name for folder in (out / "tables" / "toy2024").iterdir()}
    assert folders == {"near", "far", "no-data"}
    unit = json.loads(next((out / "units/toy2024").glob("measured_far_seed1_*/result.json")).read_text())[
        "unit"
    ]
    assert unit == {
        "study": "toy2024", "part": "", "kind": "measure", "table": "measured", "seed": 1, "data": "far",
        "n": unit["n"], "options": {},
    }  # fmt: skip


def test_units_that_differ_in_size_are_told_apart_by_n(done):
    out, _ = done
    table = read_table(out / "tables/toy2024/near/measured-gap.csv")
    assert list(table.columns) == ["seed", "n", "step", "gap"]
    assert set(table["n"]) == {20, 40}
    assert list(read_table(out / "tables/toy2024/no-data/theory-gap.csv").columns) == ["seed", "step", "gap"]


def test_claims_are_decided_where_their_tables_are(done):
    _, result = done
    found = [(v.claim.id, v.data, v.verdict) for v in result.verdicts]
    assert found == [
        ("N1", "no-data", "does not hold"),
        ("G1", "near", "holds"),
        ("G1", "far", "holds"),
        ("G2", "near, far", "holds"),
    ]
    entries = {
        entry["id"]: entry for entry in json.loads((done[0] / "verdicts.json").read_text())["verdicts"]
    }
    assert len(entries["G2"]["files"]) == 2
    assert len(entries["G2"]["units"]) == 8


def test_figures_of_each_data_set_and_of_all_of_them(done):
    out, _ = done
    text = write_reproduction(out).read_text(encoding="utf-8")
    stems = {
        path.relative_to(out / "figures").with_suffix("").as_posix() for path in out.glob("figures/**/*.svg")
    }
    assert stems == {"toy2024/near/gap", "toy2024/far/gap", "toy2024/all/both"}
    assert "All gaps: near, far" in (out / "figures/toy2024/all/both.svg").read_text(encoding="utf-8")
    assert "A. Author: Gaps. Nowhere 2024." in text


@pytest.mark.slow
def test_several_studies_in_one_report(tmp_path):
    out = tmp_path / "run"
    result = tiny(out, "toy2024")
    assert len(result.outcomes) == 5
    result = reproduce(Request(studies=("toy2024", "beaglehole2024:theory"), seeds=(0,), jobs=1), out)
    assert [outcome.status for outcome in result.outcomes].count("there") == 5
    text = write_reproduction(out).read_text(encoding="utf-8")
    top = text.index('<section id="studies"')
    assert top < text.index('<p class="about" id="toy2024"') < text.index('id="beaglehole2024"')
    assert text.count('<details class="study">') == 2, "each is closed; a link into one opens it"
    for name in ("toy2024", "beaglehole2024"):
        assert f'href="#{name}"' in text
    assert "Of 9 claims of the papers" in text


def test_data_are_replaced_only_where_a_study_lets_them(tmp_path):
    with pytest.raises(ValueError, match="data of its own"):
        toy.run(tmp_path / "run", data=("digits",))
    chosen = choices(("toy2024", "beaglehole2024"), "smoke")
    assert data_of(chosen, "smoke", ("mine.npz",)) == {"toy2024": (), "beaglehole2024": ("mine.npz",)}


def test_what_is_not_there_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="preset of toy2024"):
        choices(("toy2024",), "small")
    assert [choice.study.name for choice in choices(("all",), "small")] == [
        study.name for study in every() if "small" in study.sizes
    ]
    with pytest.raises(ValueError, match="all alone"):
        choices(("all", "toy2024"), "smoke")
    with pytest.raises(ValueError, match="name"):
        replace(toy.STUDY, name="Toy 2024/1")
    with pytest.raises(ValueError, match="sizes"):
        replace(toy.STUDY, sizes=("huge",))
    with pytest.raises(ValueError, match="kind"):
        replace(toy.STUDY, work={}).units_of("smoke", 0, None)
    with pytest.raises(ValueError, match="columns other than"):
        write_table(tmp_path, "t", pd.DataFrame({"seed": [1]}))


def test_a_word_of_the_last_release_warns():
    with pytest.warns(DeprecationWarning, match="beaglehole2024:theory"):
        (choice,) = choices(("theory",), "smoke")
    assert choice.parts == ("theory",)
    (whole,) = choices(("beaglehole2024:theory", "beaglehole2024"), "smoke")
    assert whole.parts == ()


def test_parts_are_filtered_and_units_shared_by_data_sets_run_once(monkeypatch):
    theory = plan(choices(("beaglehole2024:theory",), "smoke"), "smoke", (), (0,))
    assert {unit.part for unit in theory} == {"theory"}
    twice = replace(toy.STUDY, data={"smoke": ("digits", "digits-again")})
    units = twice.units_of("smoke", 0, None)
    assert {unit.folder: unit for unit in [*units, *units]} == {unit.folder: unit for unit in units}


def test_a_broken_plug_in_costs_nothing_else(monkeypatch):
    point = EntryPoint("broken2024", "nowhere_at_all:STUDY", "agop.studies")
    registry: Registry[Study] = Registry("agop.studies", {"toy2024": "tests.experiments.toy:STUDY"})
    monkeypatch.setattr("agop.registry.entry_points", lambda group: [point])
    monkeypatch.setattr("agop.experiments.studies.STUDIES", registry)
    with pytest.warns(RuntimeWarning, match="broken2024"):
        assert [study.name for study in every()] == ["toy2024"]


FRAME = pd.DataFrame(
    {
        "seed": np.repeat([0, 1], 6), "layer": [1, 2, 3, 1, 2, 3] * 2, "kind": ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3,
        "value": np.arange(1.0, 13), "width": 8,
    }
)  # fmt: skip


def drawn(**changes):
    settings = {
        "stem": "s",
        "section": "S",
        "title": "t",
        "caption": "c",
        "table": "t/v",
        "y": "value",
    } | changes
    return list(plates(Drawing(**settings), {"t/v": FRAME}, lambda table, file: {}, "digits"))


def lines(plate):
    """Label-free curves of a figure: x and y of each."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in plate.figure.axes[0].lines]


def shown(plate):
    return {text.get_text() for text in plate.figure.axes[0].texts}


def test_curves_are_means_over_seeds_by_series():
    (plate,) = drawn(series="kind", names={"b": "second", "a": "first"})
    assert lines(plate) == [([1, 2, 3], [7.0, 8.0, 9.0]), ([1, 2, 3], [4.0, 5.0, 6.0])]
    assert shown(plate) == {"second", "first"}


def test_rows_are_picked():
    for wanted, layers in (
        (Pick("first"), [1]), (Pick("middle"), [2]), (Pick("last"), [3]), (Pick("before last"), [1, 2]),
        (Above(1), [2, 3]), (2, [2]), ((1, 3), [1, 3]),
    ):  # fmt: skip
        (plate,) = drawn(where={"layer": wanted, "kind": "a"})
        assert lines(plate)[0][0] == layers


def test_a_curve_a_seed_has_one_name():
    (plate,) = drawn(series="kind", each_seed=True, x_add=1)
    assert lines(plate)[0] == ([2, 3, 4], [1.0, 2.0, 3.0])
    assert len(lines(plate)) == 4
    assert {name.strip() for name in shown(plate)} == {"a", "b"}


def test_words_know_columns_with_one_value():
    (plate,) = drawn(
        where={"layer": Pick("last")}, caption="layer {layer} of width {width:g} on {data}", series="kind"
    )
    assert plate.caption == "layer 3 of width 8 on digits"
    with pytest.raises(ValueError, match=r"caption of drawing 's'.*\{layer\}"):
        drawn(caption="layer {layer}")
    assert [plate.stem for plate in drawn(split="kind", stem="s-{kind}")] == ["s-a", "s-b"]


def test_what_cannot_be_drawn_is_left_out_or_said():
    assert drawn(table="t/other") == []
    assert drawn(requires=("t/other",)) == []
    assert drawn(needs={"kind": "c"}) == []
    assert drawn(where={"kind": "c"}) == []
    assert drawn(kind="gram", file="gram.npz") == []
    for changes in (
        {"kind": "pie"}, {"y": "none"}, {"x": "none"}, {"series": "none"}, {"where": {"none": 1}}, {"kind": "stages", "y": "none"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="drawing|column"):
            drawn(**changes)


def test_undefined_values_are_gaps_or_not():
    frame = FRAME.assign(value=FRAME["value"].where(FRAME["layer"] != 2))
    for gaps, layers in ((True, [1, 2, 3]), (False, [1, 3])):
        drawing = Drawing(
            stem="s", section="S", title="t", caption="c", table="t/v", curves=(Curve(y="value", gaps=gaps),)
        )
        (plate,) = plates(drawing, {"t/v": frame}, lambda table, file: {}, "d")
        assert lines(plate)[0][0] == layers


def test_units_say_where_they_are(tmp_path):
    unit = Unit("measure", "a/b", 3, None, study="toy2024")
    assert unit.folder.as_posix().startswith("units/toy2024/a-b_no-data_seed3_")
    assert unit.words == "toy2024: a/b, seed 3"


def test_a_statistic_that_raises_ends_neither_the_reproduction_nor_the_page(tmp_path, monkeypatch):
    first, *others = toy.STUDY.claims
    broken = replace(first, measure=lambda table: {0: table["nothing"].iloc[0]})
    monkeypatch.setitem(STUDIES._lines, "toy2024", replace(toy.STUDY, claims=(broken, *others)))
    result = toy.run(tmp_path / "r")
    found = {verdict.claim.id: verdict for verdict in result.verdicts}
    assert (found["G1"].verdict, found["G1"].reason) == (
        "not decided",
        "the statistic raises KeyError ('nothing')",
    )
    assert (found["G2"].verdict, found["N1"].verdict) == ("holds", "does not hold")
    assert "the statistic raises KeyError" in write_reproduction(tmp_path / "r").read_text(encoding="utf-8")


ROWS = pd.DataFrame({"seed": 0, "layer": [1, 2, 3], "bits": [5.0, 4.0, 3.5], "log2_classes": 2.0})
LEVELS = Drawing(
    stem="d", section="S", title="T", caption="C", table="t", y="bits", log="", labels=("depth", "bits"),
    lines=(Line("log2_classes", "log2 C"), Line(2.5, "half way", "x")),
)  # fmt: skip


def test_levels_are_drawn_as_far_as_the_axes_reach():
    (plate,) = plates(LEVELS, {"t": ROWS}, {}.get, "digits")
    (axes,) = plate.figure.axes
    across, upright = (line for line in axes.lines if line.get_linestyle() == "--")
    assert list(across.get_ydata()) == [2.0, 2.0]
    assert list(upright.get_xdata()) == [2.5, 2.5]
    assert axes.get_ylim()[0] < 2.0
    assert {"log2 C", "half way"} <= {text.get_text() for text in axes.texts}


def test_levels_that_would_not_be_drawn_are_one_sentence():
    with pytest.raises(
        ValueError, match="lines: expected none where the kind is not 'series', got 2 of 'stages'"
    ):
        replace(LEVELS, kind="stages")
    for rows in (ROWS.drop(columns="log2_classes"), ROWS.assign(log2_classes=[1.0, 2.0, 3.0])):
        with pytest.raises(
            ValueError,
            match="lines of drawing 'd': expected a number, or a column with one value, got 'log2_c",
        ):
            list(plates(LEVELS, {"t": rows}, {}.get, "digits"))
