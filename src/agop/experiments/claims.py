"""Claims as data: what is said, which number decides, from which threshold on, and why; and how a verdict is reached.

The thresholds were written down before a reproduction was run, each with its reason. The numbers of the paper were known then, and trial
runs of parts of the code on the bundled digits; nothing is fitted to what came out, and a verdict may be negative. Per data set and seed
a claim has one number.

Whose claim it is, a group says: of the paper, beyond it, or a control; `number` orders claims within their group.

- holds: every seed's number is on the right side of the threshold, and their mean is at least one standard deviation away from it
  (an inequality that must hold in every case, such as C6.2, needs the first only);
- does not hold: every seed's number is on the wrong side, and the mean is as far away;
- not decided: anything else: seeds that disagree, a number that is not defined or can't be computed, a unit that failed.

A control says of another procedure what a claim says of Deep RFM. It is expected not to hold, and shows that the number can come out
negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pandas import DataFrame as Table
    from pandas import Series as Column
else:  # a list of studies doesn't wait for pandas
    Table = Column = Any

Tables = Mapping[str, Any]
"""Data frames by name, such as "deep-rfm/relu/profile", with columns `data`, `seed` and `n` (training points) besides the unit's own."""

GROUPS = {"paper": "Claims of the paper", "beyond": "Beyond the paper", "control": "Controls"}
"""Whose claims there are, and their headings, in the order in which they are shown."""

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim; statistic, threshold, reason and controls are written down before the run.

    Attributes
    ----------
    id
        What it is called, such as "C1.1", "B3", "N4"; says nothing else.
    group
        "paper", "beyond" the paper, or "control".
    number
        Its place in the group.
    name
        The claim in a few words.
    says
        The claim, in one sentence.
    tables
        The gathered tables that the number is computed from.
    statistic
        The number, in words.
    measure
        The number per seed, from the tables in this order.
    relation, threshold
        "<=" or ">=", and the number it is compared with.
    because
        Why this threshold.
    controls
        The ids of the controls that show that the number can come out negative.
    expected
        What the paper, or the purpose of a control, leads one to expect; None where nobody knows.
    weigh_spread
        Whether the standard deviation counts; not for an inequality that must hold in every case.
    data
        "each": a verdict for every data set; "all": one, from the rows of all of them together; or the labels of some, one verdict.
    part
        The part of the study that decides it.
    """

    id: str
    group: Literal["paper", "beyond", "control"]
    number: float
    name: str
    says: str
    tables: tuple[str, ...]
    statistic: str
    measure: Callable[..., Mapping[int, float]]
    relation: Literal["<=", ">="]
    threshold: float
    because: str
    controls: tuple[str, ...] = ()
    expected: str | None = HOLDS
    weigh_spread: bool = True
    data: str | tuple[str, ...] = "each"
    part: str = ""

    def describe(self) -> dict[str, Any]:
        """Everything but the function, as plain values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "measure"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def met_by(self, value: float) -> bool:
        """Whether one number is on the right side."""
        return value <= self.threshold if self.relation == "<=" else value >= self.threshold


@dataclass(frozen=True)
class Verdict:
    """What became of a claim on one data set: the verdict, the number of every seed, their mean and standard deviation.

    `std` is that of the sample (n − 1), NaN with one seed; `reason` says why a claim is not decided.
    """

    claim: Claim
    data: str
    values: Mapping[int, float]
    verdict: str
    reason: str = ""
    study: str = ""

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.values.values()) / len(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Standard deviation over seeds."""
        if len(self.values) < 2:
            return math.nan
        mean = self.mean
        return math.sqrt(sum((v - mean) ** 2 for v in self.values.values()) / (len(self.values) - 1))

    @property
    def as_expected(self) -> bool | None:
        """Whether the verdict is the expected one; None where there is none to compare."""
        if self.claim.expected is None or self.verdict == OPEN:
            return None
        return self.verdict == self.claim.expected


def decide(claim: Claim, tables: Tables, data: str = "") -> Verdict:
    """The verdict on a claim from some tables, whose data set `data` names.

    A table that is missing or empty leaves it undecided, and so does a statistic that raises: the reason says which, and others go on.
    """
    missing = [name for name in claim.tables if name not in tables]
    if missing:
        return Verdict(claim, data, {}, OPEN, f"there is no table {', '.join(missing)}")
    try:
        found = claim.measure(*(tables[name] for name in claim.tables))
        values = {seed: float(value) for seed, value in found.items()}
    except Exception as error:  # noqa: BLE001 - told in the verdict, which others needn't share
        empty = [name for name in claim.tables if not len(tables[name])]
        told = (
            f"{type(error).__name__} ({' '.join(str(error).split())})" if str(error) else type(error).__name__
        )
        reason = f"the table {', '.join(empty)} is empty" if empty else f"the statistic raises {told}"
        return Verdict(claim, data, {}, OPEN, reason)
    if not values:
        return Verdict(claim, data, {}, OPEN, "there is no number for any seed")
    verdict = Verdict(claim, data, values, OPEN)
    undefined = [str(seed) for seed, value in values.items() if not math.isfinite(value)]
    if undefined:
        return Verdict(
            claim, data, values, OPEN, f"the number is not defined for seed {', '.join(undefined)}"
        )
    met = [claim.met_by(value) for value in values.values()]
    if any(met) and not all(met):
        return Verdict(claim, data, values, OPEN, "the seeds disagree")
    if claim.weigh_spread and len(values) > 1 and abs(verdict.mean - claim.threshold) < verdict.std:
        return Verdict(
            claim, data, values, OPEN, "the mean is within one standard deviation of the threshold"
        )
    return Verdict(claim, data, values, HOLDS if met[0] else FAILS)
