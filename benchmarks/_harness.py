"""What every benchmark shares: timing, peak memory, the machine's own rates, and the JSON record."""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

PAPER = {"power": 0.5, "scaling": "none", "center_targets": False}
"""An RFM as the paper has it, which the stored numbers were measured with."""


@dataclass(frozen=True)
class Timing:
    """Wall seconds of several calls."""

    median: float
    minimum: float
    maximum: float

    def as_dict(self) -> dict[str, float]:
        return {"median_s": self.median, "min_s": self.minimum, "max_s": self.maximum}


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(call: Callable[[], object], *, repeats: int = 5, warmup: int = 1) -> Timing:
    """Time `call` `repeats` times after `warmup` uncounted calls."""
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(repeats):
        _synchronise()
        start = time.perf_counter()
        call()
        _synchronise()
        seconds.append(time.perf_counter() - start)
    return Timing(statistics.median(seconds), min(seconds), max(seconds))


def resident(key: str) -> int:
    """Resident bytes of this process: `VmRSS` now, `VmHWM` at its peak.

    On Linux `ru_maxrss` starts at the peak of the process that spawned this one, which would hide everything smaller.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if platform.system() == "Darwin" else 1024
        )
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def _peak(call: Callable[[], object], queue: Any) -> None:
    before = resident("VmRSS")
    call()
    queue.put(max(0, resident("VmHWM") - before))


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes by which a fresh process's peak resident memory grows during `call` (a module-level function)."""
    grown: int = in_fresh_process(_peak, call)
    return grown


def in_fresh_process(work: Callable[..., None], *args: Any) -> Any:
    """What `work(*args, queue)`, a module-level function, puts into its queue in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(*args, queue))
    process.start()
    while process.is_alive() and queue.empty():
        time.sleep(0.2)
    if queue.empty():
        raise RuntimeError(f"the measured process ended with exit code {process.exitcode}")
    found = queue.get()
    process.join()
    return found


def matmul_rate(dtype: torch.dtype, *, size: int = 3000, device: str = "cpu") -> float:
    """Floating-point operations per second of a square matrix product on this machine."""
    a = torch.randn(size, size, dtype=dtype, device=device, generator=torch.Generator(device).manual_seed(0))
    return 2 * size**3 / measure(lambda: a @ a, repeats=3).median


def cholesky_rate(dtype: torch.dtype, *, size: int = 4000, device: str = "cpu") -> float:
    """Floating-point operations per second (n³/3 of them) of a Cholesky factorisation on this machine."""
    a = torch.randn(size, size, dtype=dtype, device=device, generator=torch.Generator(device).manual_seed(0))
    a = a @ a.T + size * torch.eye(size, dtype=dtype, device=device)
    return size**3 / 3 / measure(lambda: torch.linalg.cholesky(a), repeats=3).median


def environment() -> dict[str, Any]:
    """The machine and the versions a number was born on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in ("agop", "torch", "numpy", "scikit-learn")},
    }


def record(name: str, result: dict[str, Any]) -> Path:
    """Write `result` and the environment to `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), "result": result}, indent=2) + "\n")
    return path
