"""The recorded rows: which runs they hold, how to compute them again, and what they say about each claim."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.claims import Evidence, Verdicts, adjust, judge, load_claims
from workbench.experiments.after import METHODS, magnitude_with_rewinding, prune_and_tune
from workbench.experiments.before import (
    CHANGES,
    critical_compression,
    effective_against_direct,
    failure_on_a_grid,
    layer_sums,
    prune_then_train,
)
from workbench.experiments.criteria import (
    filter_agreement,
    layer_densities,
    loss_rise,
    prune_filters,
    prune_units,
    score_sizes,
    snip_overlap,
)
from workbench.project_data import project_data
from workbench.readings import READINGS, authors
from workbench.runs import Row, grid, read_rows
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

SEEDS = [0, 1, 2, 3, 4]
COMPRESSIONS = [10, 30, 100, 300, 1000, 3000, 10000, 30000]
NETWORKS = ["lenet-300-100", "vgg"]
BOTH = ["running", "batch"]
"""BatchNorm's statistics: rows whose criterion may see either name the ones it saw."""


@dataclass(frozen=True)
class Experiment:
    """Recorded rows: a function of plain arguments, and the grids of arguments that it is run on."""

    function: Callable[..., Mapping[str, Any]]
    grids: tuple[dict[str, list[Any]], ...]


EXPERIMENTS: dict[str, Experiment] = {
    # Accuracy against compression at initialisation, vgg on digits; compression 1 is the dense network.
    "headline": Experiment(
        prune_then_train,
        (
            {"criterion": ["magnitude"], "compression": [1], "seed": SEEDS},
            {"criterion": ["random", "magnitude"], "compression": COMPRESSIONS, "seed": SEEDS},
            {"criterion": ["snip"], "bn": BOTH, "compression": COMPRESSIONS, "seed": SEEDS},
            {"criterion": ["grasp"], "bn": ["batch"], "compression": COMPRESSIONS, "seed": SEEDS},
            {"criterion": ["synflow"], "compression": COMPRESSIONS, "rounds": [100], "seed": SEEDS},
        ),
    ),
    # The same for the criteria that came after these.
    "successors": Experiment(
        prune_then_train,
        (
            {"criterion": ["force"], "bn": ["batch"], "compression": COMPRESSIONS, "rounds": [20], "seed": SEEDS},
            {"criterion": ["ntk-sap"], "compression": COMPRESSIONS, "rounds": [20], "seed": SEEDS},
            {"criterion": ["prospr"], "compression": COMPRESSIONS, "seed": SEEDS},
        ),
    ),
    # How far each criterion goes at initialisation without layer collapse: in one cut, or 10 % of what is left a round.
    "critical": Experiment(
        critical_compression,
        (
            {"criterion": ["random", "magnitude", "synflow", "ntk-sap", "prospr"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["snip", "grasp"], "bn": BOTH, "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["random"], "allocation": ["erk", "smart-ratio"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["synflow", "ntk-sap", "prospr"], "rate": [0.1], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["snip", "grasp", "force"], "rate": [0.1], "bn": BOTH, "network": NETWORKS, "seed": SEEDS},
        ),
    ),
    # The first compression of a grid at which a schedule of K rounds loses a layer, K rounds to each compression.
    "failures": Experiment(
        failure_on_a_grid,
        (
            {"criterion": ["synflow", "ntk-sap"], "rounds": [5, 20], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
            {
                "criterion": ["snip", "grasp", "force"],
                "rounds": [5, 20, 100],
                "bn": ["batch"],
                "network": NETWORKS,
                "seed": SEEDS,
            },
            {"criterion": ["snip", "grasp", "force"], "rounds": [5, 20], "bn": ["running"], "seed": SEEDS},
        ),
    ),
    # What networks pruned under the other statistics than those of the authors' code are worth, and in 20 rounds.
    "statistics": Experiment(
        prune_then_train,
        (
            {
                "criterion": ["snip"],
                "compression": [30, 100, 300, 1000],
                "rounds": [20],
                "bn": ["running"],
                "seed": SEEDS,
            },
            {
                "criterion": ["grasp"],
                "compression": [30, 100, 300, 1000],
                "rounds": [1, 20],
                "bn": ["running"],
                "seed": SEEDS,
            },
        ),
    ),
    # SynFlow's layer sums at initialisation (biases 0) and after training.
    "conservation": Experiment(
        layer_sums,
        (
            {"network": ["lenet-300-100", "vgg", "resnet-20"], "seed": SEEDS},
            {"network": NETWORKS, "trained": [True], "seed": SEEDS},
        ),
    ),
    # Direct and effective sparsity at 99 %.
    "effective": Experiment(
        effective_against_direct,
        (
            {"criterion": ["random", "magnitude"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["snip"], "bn": ["running"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["grasp"], "bn": ["batch"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["random"], "allocation": ["layer"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
        ),
    ),
    # Global against equal sparsity in every layer, at equal weights and at equal MACs, after training.
    "allocation": Experiment(
        prune_and_tune,
        (
            {"allocation": ["global", "layer"], "compression": [10, 30, 100], "seed": SEEDS},
            {"allocation": ["global"], "compression": [10, 30, 100], "budget": ["macs"], "seed": SEEDS},
        ),
    ),
    # Iterative magnitude pruning with rewinding against one cut.
    "rewinding": Experiment(
        magnitude_with_rewinding, ({"method": list(METHODS), "levels": [5, 10, 20], "seed": SEEDS},)
    ),
    # What masks from before training owe to their places, to the weights and to the labels.
    "sanity": Experiment(
        prune_then_train,
        (
            {
                "criterion": ["snip"],
                "bn": ["running"],
                "change": list(CHANGES),
                "compression": [5, 20, 100],
                "seed": SEEDS,
            },
            {
                "criterion": ["grasp"],
                "bn": ["batch"],
                "change": list(CHANGES),
                "compression": [5, 20, 100],
                "seed": SEEDS,
            },
            {
                "criterion": ["synflow"],
                "compression": [5, 20, 100],
                "rounds": [100],
                "change": ["none", "shuffle", "reinitialise"],
                "seed": SEEDS,
            },
            {
                "criterion": ["magnitude"],
                "compression": [5, 20, 100],
                "change": ["none", "shuffle", "reinitialise", "invert"],
                "seed": SEEDS,
            },
        ),
    ),
    # Random masks whose layer densities come from a formula.
    "allocated": Experiment(
        prune_then_train,
        (
            {
                "criterion": ["random"],
                "compression": [10, 30, 100, 300, 1000],
                "allocation": ["erk", "smart-ratio", "layer"],
                "seed": SEEDS,
            },
        ),
    ),
    # Dense and randomly pruned networks of growing width.
    "width": Experiment(
        prune_then_train,
        (
            {
                "criterion": ["random"],
                "compression": [1, 5, 20],
                "allocation": ["erk"],
                "width": [0.25, 0.5, 1.0, 2.0],
                "seed": SEEDS,
            },
        ),
    ),
    # The same criteria on a trained network, fine-tuned.
    "pretrained": Experiment(
        prune_and_tune,
        (
            {"criterion": ["snip"], "bn": ["running"], "allocation": ["global"], "compression": [30], "seed": SEEDS},
            {"criterion": ["grasp"], "bn": ["batch"], "allocation": ["global"], "compression": [30], "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "allocation": ["global"], "compression": [30], "seed": SEEDS},
        ),
    ),
    "sizes": Experiment(score_sizes, ({"network": NETWORKS, "seed": SEEDS},)),
    "overlap": Experiment(
        snip_overlap,
        (
            {
                "against": ["one a class", "other samples", "random labels", "random masks"],
                "bn": ["running"],
                "seed": SEEDS,
            },
        ),
    ),
    "densities": Experiment(
        layer_densities,
        (
            {"criterion": ["magnitude"], "seed": SEEDS},
            {"criterion": ["snip"], "bn": ["running"], "seed": SEEDS},
            {"criterion": ["grasp"], "bn": ["batch"], "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "seed": SEEDS},
        ),
    ),
    "filters": Experiment(filter_agreement, ({"seed": SEEDS},)),
    # Channels removed from a trained network, without further training.
    "channels": Experiment(
        prune_filters,
        ({"criterion": ["l1", "taylor", "lrp", "random"], "sparsity": [0.05, 0.1, 0.15], "seed": SEEDS},),
    ),
    # True rise of the loss of a tiny trained network.
    "loss": Experiment(
        loss_rise,
        (
            {
                "criterion": ["magnitude", "taylor", "fisher", "obd", "obs"],
                "sparsity": [0.1, 0.3, 0.5],
                "seed": SEEDS,
            },
        ),
    ),
    # Relevance against other criteria with few samples: 1000 of 3000 units removed at once.
    "units": Experiment(
        prune_units,
        (
            {
                "criterion": ["lrp", "taylor", "gradient"],
                "data": ["moons", "circles", "spirals"],
                "samples": [1, 5, 200],
                "seed": SEEDS,
            },
            {"criterion": ["l1"], "data": ["moons", "circles", "spirals"], "seed": SEEDS},
        ),
    ),
}


def compute(
    name: str, folder: str | Path | None = None, jobs: int = 1, on_row: Callable[[Row, int, int], None] | None = None
) -> pd.DataFrame:
    """Run an experiment's missing rows into `folder` (default: the shipped `data/rows`) and return all of them.

    The command for the whole is `workbench evidence`; delete a file of rows to compute it afresh.
    """
    import pandas as pd

    experiment = EXPERIMENTS[check_choice("experiment", name, EXPERIMENTS)]
    path = Path(folder or project_data("rows")) / f"{name}.jsonl"
    return pd.concat(
        [grid(experiment.function, path, jobs=jobs, on_row=on_row, **axes) for axes in experiment.grids],
        ignore_index=True,
    )


def recorded(name: str, bn: str = "authors") -> pd.DataFrame:
    """The recorded rows of an experiment, arguments that a row leaves to their defaults filled in.

    Where a criterion was run under several BatchNorm statistics, `bn="authors"` gives the rows under those of its
    authors' code, `"all"` every row.

    >>> sorted(recorded("conservation")["network"].unique())
    ['lenet-300-100', 'resnet-20', 'vgg']
    """
    import inspect

    experiment = EXPERIMENTS[check_choice("experiment", name, EXPERIMENTS)]
    rows = read_rows(project_data("rows", f"{name}.jsonl"))
    for argument, parameter in inspect.signature(experiment.function).parameters.items():
        if argument not in rows:
            rows.insert(0, argument, parameter.default)
        elif parameter.default is not parameter.empty and parameter.default is not None:
            rows[argument] = rows[argument].where(rows[argument].notna(), parameter.default)
    several = {"bn", "criterion"} <= set(rows)
    return authors(rows) if check_choice("bn", bn, ("all", "authors")) == "authors" and several else rows


def verdict(claim: str) -> Evidence:
    """Judge a claim of `data/claims.yaml` from its recorded rows; in a notebook the result shows itself.

    >>> verdict("synflow-conserves").verdict
    'holds'
    """
    return verdicts(claim)[0]


def verdicts(*claims: str) -> Verdicts:
    """These claims, or all, judged from their recorded rows; in a notebook they show themselves as one table.

    Their p values are adjusted for all claims of `data/claims.yaml`, whichever are shown (`claims.adjust`). The verdict
    is that of a claim's own interval; one that holds so, and not among all claims (bh > 0.025), says so.

    >>> [evidence.verdict for evidence in verdicts("synflow-conserves", "one-shot-collapses-earlier")]
    ['holds', 'holds']
    """
    for claim in claims:
        check_choice("claim", claim, READINGS)
    rows, known = functools.cache(functools.partial(recorded, bn="all")), load_claims()
    ledger = adjust(judge(known[claim], effects(*map(rows, names))) for claim, (names, effects) in READINGS.items())
    found = {evidence.claim.id: evidence for evidence in ledger}
    return Verdicts(found[claim] for claim in claims or READINGS)
