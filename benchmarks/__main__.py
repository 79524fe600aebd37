"""`python -m benchmarks [NAME …]`: run every benchmark but the long ones, or those named.

`python -m benchmarks --compare STORED MEASURED [--factor 1.5]` compares the ratios in two JSON files, or in two folders of them,
and fails if one has become worse by more than the factor.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

import benchmarks
from benchmarks._compare import report

LONG = {"large"}


def run(names: list[str]) -> None:
    """Those named, else all but the long ones."""
    every = [
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    ]
    for name in names or [name for name in every if name not in LONG]:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run benchmarks, or compare two runs."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks to run; without one, all but the long ones"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("STORED", "MEASURED"),
        help="two results, or folders of them",
    )
    parser.add_argument("--factor", type=float, default=1.5, help="how many times worse a ratio may become")
    asked = parser.parse_args()
    if asked.compare is None:
        run(asked.names)
        return 0
    try:
        return report(*asked.compare, asked.factor)
    except (OSError, ValueError) as reason:
        parser.error(str(reason))


if __name__ == "__main__":
    raise SystemExit(main())
