"""When to prune, at equal multiply-adds of training: schedules are made longer until the ledgers agree within 1 %."""

from itertools import count
from typing import Any

from workbench.experiments.common import SEEDS, size, start
from workbench.experiments.registry import experiment
from workbench.methods import timing as prune
from workbench.methods.registry import METHODS
from workbench.metrics import evaluate, macs
from workbench.recipes import recipe
from workbench.recording import Recording
from workbench.train import schedule

TIMES = ["before", "early", "gradual", "set", "rigl", "after", "rewound", "rate-rewound"]
SNIP, LEVELS = {"criterion": "snip"}, {"rounds": 5}
OWN: dict[str, dict[str, Any]] = {"before": SNIP, "early": SNIP, "rewound": LEVELS, "rate-rewound": LEVELS}


@experiment("timing", grids=[{"timing": TIMES, "compression": [20], "epochs": [6], "seed": SEEDS}])
def at_equal_macs(
    timing: str,
    compression: float,
    seed: int,
    budget: float = 1.0,
    data: str = "digits",
    network: str = "lenet-300-100",
    epochs: int | None = None,
) -> dict[str, float]:
    """Prune at a time, in a training of `budget` times the multiply-adds of `epochs` dense epochs; measure on the test.

    The schedule's number of steps is found by trying: it is scaled by what the ledger lacks until that is within 1 %.
    SNIP before and early, magnitude after, in five levels where that is iterative; other methods as they are. `tries`
    says how many trainings it took.

    >>> row = at_equal_macs("before", compression=10, seed=0, epochs=1)
    >>> abs(row["training_macs"] / row["budget_macs"] - 1) <= 0.01, row["kept"]
    (True, 5020)
    """
    task, model, _ = start(data, network, seed)
    epochs = recipe(task, model).epochs if epochs is None else epochs
    wanted = round(budget * 3 * macs(model, task.batch(1).inputs) * epochs * task.size("train"))
    how, steps = OWN.get(timing, {}), schedule(model, task, epochs)
    gradients = METHODS[timing].gradients if timing in METHODS else "kept"
    for tries in count(1):
        _, model, _ = start(data, network, seed)
        film = Recording(model, task, gradients=gradients)
        run = prune(timing, model, task, 1 - 1 / compression, seed=seed, steps=steps, **how)
        rows = list(film.watch(run))
        found = film.ledger()["training_macs"]
        if abs(found / wanted - 1) <= 0.01 or tries == 8:
            break
        steps = max(1, round(steps * wanted / found))
    masks = rows[-1].masks
    accuracy = evaluate(model, task, masks, "test")["accuracy"]
    told = {"training_macs": found, "budget_macs": wanted, "steps": len(rows), "tries": tries}
    return {"accuracy": accuracy, **size(masks), **told}
