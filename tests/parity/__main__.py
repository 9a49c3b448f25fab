"""Print the parity table and write it to data/parity.csv."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from parity import collect  # noqa: E402


def main() -> None:
    import torch

    torch.set_num_threads(1)
    fields = ("name", "granularity", "source", "largest difference", "known deviations")
    rows = []
    for check in collect():
        difference = check.check()
        rows.append((check.name, check.granularity, check.source, f"{difference:.1e}", check.deviation))
        print(*rows[-1], sep=" | ", flush=True)
    path = HERE.parent.parent / "data" / "parity.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(fields)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
