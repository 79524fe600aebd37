"""`python -m benchmarks [NAME …]`: run every benchmark, or those named."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

names = sys.argv[1:] or [
    module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
]
for name in names:
    print(f"== {name}", flush=True)
    importlib.import_module(f"benchmarks.{name}").main()
