"""`python -m benchmarks [NAME …]`: run every benchmark but the long ones, or those named."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

LONG = {"large"}
names = sys.argv[1:] or [
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_") and module.name not in LONG
]
for name in names:
    print(f"== {name}", flush=True)
    importlib.import_module(f"benchmarks.{name}").main()
