"""What moves, and by how much, when the same Python computes under another instruction set.

`SETTINGS` makes the libraries take the code that they keep for other processors; `python -m benchmarks.processors FILE`
writes what is computed under the present one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import workbench as wb
from benchmarks.measure import Row
from workbench.metrics.agreement import jaccard

SETTINGS = {
    "no vector instructions beyond SSE 4": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
"""Environment variables by name of the setting; those of another library's or processor's are ignored."""

SEEDS = 3
CUTS = {"magnitude": 1, "random": 1, "snip": 1, "grasp": 1, "synflow": 20}
"""Criterion -> rounds."""


def facts(quick: bool) -> dict[str, np.ndarray]:
    """Weights, masks at 20x, critical compressions and trained accuracies of vgg (quick: of a small network)."""
    task, found = wb.load("digits", device="cpu"), {}
    for seed in range(1 if quick else SEEDS):
        model = wb.make("lenet-300-100" if quick else "vgg", task, seed=seed)
        batch = task.batch(per_class=10, seed=seed)
        found[f"weights {seed}"] = torch.cat([w.detach().reshape(-1) for w in wb.prunable(model).values()]).numpy()
        for criterion, rounds in CUTS.items():
            masks = wb.find_masks(model, batch, criterion, 0.95, rounds=rounds, seed=seed)
            found[f"mask {criterion} {seed}"] = torch.cat([m.reshape(-1) for m in masks.values()]).numpy()
        for criterion in ("snip", "force"):
            found[f"critical {criterion} {seed}"] = np.array(
                wb.critical_iterated(model, batch, criterion, rate=0.5 if quick else 0.1)
            )
        wb.train(model, task, masks=masks, seed=seed, epochs=1 if quick else None, fast=False)
        found[f"accuracy {seed}"] = np.array(wb.evaluate(model, task)["accuracy"])
    return found


def rows(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        here = _elsewhere({}, Path(folder) / "here.npz", quick)
        for name, setting in SETTINGS.items():
            there = _elsewhere(setting, Path(folder) / "there.npz", quick)
            yield from _differences(name, here, there, 1 if quick else SEEDS)


def _differences(name: str, here: dict[str, np.ndarray], there: dict[str, np.ndarray], seeds: int) -> Iterator[Row]:
    weights = [(here[f"weights {s}"], there[f"weights {s}"]) for s in range(seeds)]
    other = max(float((a != b).mean()) for a, b in weights)
    yield Row(f"{name}: initial weights that differ in a bit", 100 * other, "%")
    apart = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in weights)
    yield Row(f"{name}: initial weights, largest difference as a share of the largest weight", apart, "")
    for criterion in CUTS:
        pairs = [[{"all": torch.from_numpy(f[f"mask {criterion} {s}"])} for f in (here, there)] for s in range(seeds)]
        yield Row(f"{name}: masks by {criterion}, 20x, least overlap", min(jaccard(*pair) for pair in pairs), "")
    for criterion in ("snip", "force"):
        both = [[float(f[f"critical {criterion} {s}"]) for f in (here, there)] for s in range(seeds)]
        yield Row(
            f"{name}: critical compression by {criterion}, largest ratio", max(max(b) / min(b) for b in both), "x"
        )
    gaps = [abs(float(there[f"accuracy {s}"] - here[f"accuracy {s}"])) for s in range(seeds)]
    yield Row(f"{name}: accuracy at 20x, mean difference of a seed's two runs", 100 * statistics.mean(gaps), "%")


def _elsewhere(setting: dict[str, str], path: Path, quick: bool) -> dict[str, np.ndarray]:
    command = [sys.executable, "-m", "benchmarks.processors", str(path), *(["--quick"] if quick else [])]
    subprocess.run(command, env={**os.environ, **setting}, check=True)
    with np.load(path) as stored:
        return dict(stored)


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez(sys.argv[1], **facts(quick="--quick" in sys.argv))
