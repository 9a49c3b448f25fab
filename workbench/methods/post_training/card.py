"""The model card of a pruned decoder: what was done to it, in words and as the call that does it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from workbench.methods.post_training.folders import Folder
    from workbench.methods.post_training.plan import Plan


def model_card(folder: Folder, plan: Plan, record: dict[str, Any], table: pd.DataFrame) -> str:
    """`README.md` of the folder; it has no date and no seconds, so that the same call writes the same file."""
    weights, kept, whole = int(table.weights.sum()), int(table.kept.sum()), folder.model.num_parameters()
    asked = record["sparsity"] if isinstance(record["sparsity"], float | int) else "by block, see `pruning.json`"
    n, t = record["tokens"]
    options = "".join(f", {name}={value!r}" for name, value in record["options"].items())
    named = {name: record[name] for name in ("granularity", "exclude", "rows")}
    call = ", ".join(f"{name}={value!r}" for name, value in named.items())
    rows = {
        "dense model": folder.name,
        "method": f"{record['method']} ({plan.entry.source})",
        "sparsity asked": asked,
        "reached": f"{1 - kept / weights:.4f} ({weights - kept:,} of {weights:,} weights of the pruned layers)",
        "of all parameters": f"{(weights - kept) / whole:.4f} are removed ({whole:,} in all)",
        "granularity": record["granularity"],
        "layers": f"{len(table)} linear layers in {len(plan.layers)} blocks; embeddings, norms and head are whole",
        "calibration": f"{n:,} samples of {t:,} tokens (SHA-256 of the int64 numbers {record['calibration'][:16]}...)",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    sparsity = json.dumps(record["sparsity"])
    return f"""---
library_name: transformers
tags:
- pruned
---

# {folder.name}, pruned

Weights of this model were removed without training, block by block: they are 0 in the files. The license of the dense
model holds.

| | |
|---|---|
{lines}

```python
import workbench as wb

wb.prune_llm({folder.name!r}, tokens, {record["method"]!r}, {sparsity}, {call}{options}, out="...")
```
"""
