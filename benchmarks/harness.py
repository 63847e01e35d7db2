"""Contenders in processes of their own, interleaved, so that a busy minute hits all alike."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Contender:
    """A program, given its variables as Python literals before its first line."""

    name: str
    program: str


@dataclass(frozen=True)
class Measurement:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    measured: float | None = None
    """Seconds that the program measured itself, where it prints `merge: <seconds>`."""


def compare(
    contenders: list[Contender], values: Mapping[str, Any], repeat: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Medians of each contender; `times the first` is the ratio to the first one's seconds."""
    runs: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    for _ in range(repeat):
        for contender in contenders:
            runs[contender.name].append(_measure(contender, values, folder))
    found = {name: _medians(measurements) for name, measurements in runs.items()}
    base = found[contenders[0].name]["seconds"]
    return {
        name: {**medians, "times the first": round(medians["seconds"] / base, 2)} for name, medians in found.items()
    }


def _measure(contender: Contender, values: Mapping[str, Any], folder: Path) -> Measurement:
    import psutil

    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    head = "".join(f"{name} = {value!r}\n" for name, value in {**values, "FOLDER": str(place)}.items())
    began = time.perf_counter()
    command = [sys.executable, "-c", head + contender.program]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
    peak, cpu = 0, 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
            times = watched.cpu_times()
            cpu = times.user + times.system
        except psutil.Error:
            break
        time.sleep(0.02)
    said, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{contender.name} failed")
    found = [float(line.removeprefix("merge: ")) for line in said.splitlines() if line.startswith("merge: ")]
    return Measurement(time.perf_counter() - began, cpu, peak / 1_000_000, found[0] if found else None)


def _medians(runs: list[Measurement]) -> dict[str, float]:
    measured = [run.measured for run in runs if run.measured is not None]
    return {
        **({"measured seconds": round(statistics.median(measured), 3)} if measured else {}),
        "seconds": round(statistics.median(run.seconds for run in runs), 2),
        "cpu seconds": round(statistics.median(run.cpu_seconds for run in runs), 2),
        "peak MB": round(statistics.median(run.peak_megabytes for run in runs)),
    }
