"""What every study must satisfy, of the package or of another one."""

from __future__ import annotations

from collections.abc import Iterator

from agop.experiments.study import Study
from agop.experiments.tables import table_of
from agop.experiments.units import DataSource, Unit


def check_study(study: Study) -> None:
    """Refuse a study without negative controls or reasons, or whose words, parts and tables don't fit together."""
    for size in study.sizes:
        claims = study.claims_of(size)
        groups = {claim.id: claim.group for claim in claims}
        assert len({(claim.id, claim.tables) for claim in claims}) == len(claims), "two claims have one id"
        assert any(group == "control" for group in groups.values()), "a study needs a negative control"
        assert {groups[control] for claim in claims for control in claim.controls} <= {"control"}
        assert {claim.part for claim in claims} <= {"", *study.parts}
        assert all(claim.says.endswith(".") and claim.because and claim.statistic for claim in claims)
        units = list(_units(study, size))
        assert len({unit.folder for unit in units}) == len(units), "two units are told apart by nothing"
        written = {unit.table for unit in units}
        assert {table_of(name) for claim in claims for name in claim.tables} <= written
        drawings = study.drawings_of(size)
        assert {drawing.part for drawing in drawings} <= {"", *study.parts}
        assert study.facts(size) is not None
    assert study.question.endswith("?")
    assert str(study.cite.year) in str(study.cite)


def _units(study: Study, size: str) -> Iterator[Unit]:
    for seed in (0, 1):
        data = DataSource("digits", "fingerprint", available=1400) if study.data.get(size) else None
        yield from study.units_of(size, seed, data)
