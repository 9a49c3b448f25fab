"""Train the networks of data/checkpoints again, by the recipe of their pair, and write them with what they reached.

.venv/bin/python tools/checkpoints.py        about ten minutes on one core
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import workbench as wb  # noqa: E402
from workbench.models.checkpoints import checkpoint_name  # noqa: E402

PAIRS = [("llama", "text")]


def main() -> None:
    for network, data in PAIRS:
        task, began = wb.load(data, device="cpu"), time.monotonic()
        model = wb.make(network, task, seed=0)
        for row in wb.steps(model, task, seed=0):
            found = {name: value for name, value in row.items() if str(name).startswith("val_")}
            if found:
                print(f"{network} on {data}: step {row['step']} of {row['total']}, {found}", flush=True)
        measured = {name: f"{value:.4f}" for name, value in wb.evaluate(model, task, split="test").items()}
        facts = {name: str(value) for name, value in wb.versions().items()}
        facts |= {"command": "python tools/checkpoints.py", "seconds": f"{time.monotonic() - began:.0f}"}
        facts |= {f"test {name}": value for name, value in measured.items()}
        (ROOT / "data" / "checkpoints").mkdir(exist_ok=True)
        tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        save_file(tensors, ROOT / "data" / "checkpoints" / checkpoint_name(network, data), facts)
        print(measured)


if __name__ == "__main__":
    main()
