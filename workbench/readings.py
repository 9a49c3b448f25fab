"""How one number per seed and part of a claim is read off the recorded rows, for every claim.

A claim about each of several networks, criteria or data sets has a column for each: it holds if every part does
(`claims.judge`). A mean over settings is one number, where the claim is about the mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.claims import compare
from workbench.criteria.registry import entries

if TYPE_CHECKING:
    import pandas as pd

ONE_SHOT = ["random", "magnitude", "snip", "grasp", "synflow"]
BEFORE = ["snip", "grasp", "synflow"]


def _apart(values: pd.Series | pd.DataFrame, name: str = "network") -> pd.DataFrame:
    """Values by `name` and seed as one row per seed, one column per `name` (and per column that is there)."""
    import pandas as pd

    return pd.DataFrame(values.unstack(name))


def _spread(networks: Sequence[str], trained: bool) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Spread of the layer sums of each network."""

    def effects(df: pd.DataFrame) -> pd.DataFrame:
        chosen = df[df["network"].isin(networks) & (df["trained"] == trained)]
        return chosen.pivot(index="seed", columns="network", values="spread")

    return effects


def authors(df: pd.DataFrame) -> pd.DataFrame:
    """The rows under the BatchNorm statistics of each criterion's authors; others name no statistics."""
    own = df["criterion"].map({name: e.bn for (name, granularity), e in entries().items() if granularity == "weight"})
    return df[df["bn"].isna() | (df["bn"] == own)]


def _log_critical(df: pd.DataFrame, criteria: Sequence[str], bn: str, iterated: bool = False) -> pd.DataFrame:
    """log10 of critical compression of each criterion (column) by network and seed, in one cut or 10 % a round.

    Under global allocation and, where a criterion may see either, BatchNorm's statistics `bn`.
    """
    rate = df["rate"] == 0.1 if iterated else df["rate"].isna()
    chosen = df[df["criterion"].isin(criteria) & rate & (df["allocation"] == "global")]
    chosen = chosen[chosen["bn"].isna() | (chosen["bn"] == bn)]
    return chosen.pivot(index=["network", "seed"], columns="criterion", values="critical").map(math.log10)


def _to_the_maximum(df: pd.DataFrame) -> pd.DataFrame:
    rows = df[(df["criterion"] == "synflow") & (df["rate"] == 0.1)]
    return rows.assign(share=rows["critical"] / rows["maximum"]).pivot(index="seed", columns="network", values="share")


def _earlier_than_iterated(df: pd.DataFrame) -> pd.DataFrame:
    """Iterated SynFlow minus each one-shot criterion, on each network, as Tanaka et al. score: running statistics."""
    last = _log_critical(df, ["synflow"], "running", iterated=True)["synflow"]
    return _apart(-_log_critical(df, ONE_SHOT, "running").sub(last, axis=0))


def _synflow_before_others(df: pd.DataFrame) -> pd.DataFrame:
    """Each other criterion minus SynFlow in one shot, on each network."""
    one = _log_critical(df, ONE_SHOT, "running")
    return _apart(one.drop(columns="synflow").sub(one["synflow"], axis=0))


def _delay(criterion: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A criterion iterated minus SNIP in one cut, on each network; the batch's statistics, as de Jorge et al."""

    def effects(df: pd.DataFrame) -> pd.DataFrame:
        many = _log_critical(df, [criterion], "batch", iterated=True)[criterion]
        return _apart(many - _log_critical(df, ["snip"], "batch")["snip"])

    return effects


def _global_minus_layer(df: pd.DataFrame) -> pd.Series:
    rows = df[df["budget"] == "weights"]
    return _mean_over(rows, "compression", "allocation", "global", "layer")


def _layer_minus_global_at_equal_macs(df: pd.DataFrame) -> pd.Series:
    # "layer" has the same masks under either budget, so its rows are recorded once.
    rows = df[(df["budget"] == "macs") | (df["allocation"] == "layer")]
    return _mean_over(rows, "compression", "allocation", "layer", "global")


def _iterative_minus_one_shot(df: pd.DataFrame) -> pd.Series:
    return _mean_over(df[df["levels"] >= 10], "levels", "method", "iterative", "one-shot, as long")


def _mean_over(df: pd.DataFrame, setting: str, arm: str, a: str, b: str) -> pd.Series:
    """Accuracy of a minus b per seed, mean over the settings."""
    import pandas as pd

    tables = [compare(rows, "accuracy", arm, a, b)["difference"] for _, rows in df.groupby(setting)]
    return pd.concat(tables, axis=1).mean(axis=1)


def _effective_over_direct(df: pd.DataFrame) -> pd.Series:
    rows = df[(df["allocation"] == "global") & (df["rounds"] == 1)]
    on_no_path = (rows["effective"] - rows["direct"]) / (1 - rows["direct"])
    return on_no_path.groupby(rows["seed"]).mean()


def _in_order(df: pd.DataFrame) -> pd.DataFrame:
    """Gaps between neighbours in the order magnitude, SNIP, GraSP, iterated SynFlow, on each network."""
    one = _log_critical(df, ["magnitude", "snip", "grasp"], "running")
    last = _log_critical(df, ["synflow"], "running", iterated=True)["synflow"]
    ordered = one[["magnitude", "snip", "grasp"]].join(last)
    return _apart(ordered.diff(axis=1).iloc[:, 1:].rename(columns=lambda c: f"{c} over the one before"))


def _slope(df: pd.DataFrame) -> pd.DataFrame:
    return df.assign(off=(df["slope"] + 1).abs()).pivot(index="seed", columns="network", values="off")


def _largest_first(df: pd.DataFrame) -> pd.DataFrame:
    return df.pivot(index="seed", columns="network", values="largest_first")


def _changed(change: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Accuracy after a change minus that of the masks as they are, of each criterion."""

    def effects(df: pd.DataFrame) -> pd.DataFrame:
        rows = df[(df["compression"] == 20) & df["criterion"].isin(BEFORE)]
        table = rows.pivot(index=["criterion", "seed"], columns="change", values="accuracy")
        return _apart(table[change] - table["none"], "criterion")

    return effects


def _at(df: pd.DataFrame, compression: float, *criteria: str) -> pd.DataFrame:
    """Accuracy of criteria (columns) by seed at one compression; SynFlow in 100 rounds."""
    rows = authors(df[(df["compression"] == compression) & df["criterion"].isin(criteria)])
    return rows.pivot(index="seed", columns="criterion", values="accuracy")


def _before_beats_random(df: pd.DataFrame) -> pd.DataFrame:
    found = _at(df, 30, "random", *BEFORE)
    return found[BEFORE].sub(found["random"], axis=0)


def _after(allocation: pd.DataFrame) -> pd.Series:
    """Accuracy of magnitude pruning after training, at 30x."""
    rows = allocation[(allocation["allocation"] == "global") & (allocation["budget"] == "weights")]
    return rows[rows["compression"] == 30].set_index("seed")["accuracy"]


def _after_beats_before(headline: pd.DataFrame, allocation: pd.DataFrame) -> pd.DataFrame:
    return -_at(headline, 30, *BEFORE).sub(_after(allocation), axis=0)


def _formula_masks(headline: pd.DataFrame, allocated: pd.DataFrame) -> pd.DataFrame:
    """Each of ERK and Smart-Ratio minus each of SNIP and GraSP, mean over 10x and 30x."""
    import pandas as pd

    rows = allocated[allocated["compression"].isin([10, 30])]
    formulas = rows.pivot_table(index="seed", columns="allocation", values="accuracy")[["erk", "smart-ratio"]]
    others = (_at(headline, 10, "snip", "grasp") + _at(headline, 30, "snip", "grasp")) / 2
    return pd.DataFrame({f"{a} - {b}": formulas[a] - others[b] for a in formulas for b in others})


def _data_free_is_as_good(df: pd.DataFrame) -> pd.Series:
    found = _at(df, 10, "snip", "synflow")
    return found["synflow"] - found["snip"]


def _random_is_as_good(df: pd.DataFrame) -> pd.DataFrame:
    found = _at(df, 10, "random", "snip", "synflow")
    return -found[["snip", "synflow"]].sub(found["random"], axis=0)


def _labels_matter_little(df: pd.DataFrame) -> pd.DataFrame:
    """Overlap of SNIP's masks under other labels, other samples and a smaller batch."""
    return df[df["against"] != "random masks"].pivot(index="seed", columns="against", values="jaccard")


def _magnitude_gains_most(headline: pd.DataFrame, pretrained: pd.DataFrame, allocation: pd.DataFrame) -> pd.DataFrame:
    """Gain of magnitude from pretrained weights minus that of each other, at 30x."""
    mine = _after(allocation) - _at(headline, 30, "magnitude")["magnitude"]
    return -(_at(pretrained, 30, *BEFORE) - _at(headline, 30, *BEFORE)).sub(mine, axis=0)


def _lost_at_width(df: pd.DataFrame, compression: float, width: float) -> pd.Series:
    """Accuracy of the dense network minus that of the pruned one, of one width."""
    table = df[df["width"] == width].pivot(index="seed", columns="compression", values="accuracy")
    return table[1] - table[compression]


def _random_matches_dense(df: pd.DataFrame) -> pd.Series:
    return -_lost_at_width(df, 5, 2.0)


def _width_closes_the_gap(df: pd.DataFrame) -> pd.Series:
    return _lost_at_width(df, 20, 0.25) - _lost_at_width(df, 20, 2.0)


def _layers(df: pd.DataFrame) -> pd.DataFrame:
    names = sorted((c for c in df.columns if c.startswith("layer ")), key=lambda c: int(c.split()[1]))
    return df.set_index(["seed", "criterion"])[names]


def _ends_dense(df: pd.DataFrame) -> pd.DataFrame:
    """log10 of the density of the first and of the last layer over that of the largest, for each criterion."""
    import pandas as pd

    table = _layers(df).map(math.log10)
    ends = pd.DataFrame(
        {f"{end} layer": table.iloc[:, k] - table.iloc[:, -2] for end, k in (("first", 0), ("last", -1))}
    )
    return _apart(ends, "criterion")


def _one_shape(df: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation of the layers' densities between each two criteria."""
    import pandas as pd

    ranks = _layers(df).rank(axis=1)
    by_criterion = {str(name): table.droplevel("criterion") for name, table in ranks.groupby("criterion")}
    pairs = itertools.combinations(by_criterion.items(), 2)
    return pd.DataFrame({f"{a} and {b}": one.corrwith(other, axis=1) for (a, one), (b, other) in pairs})


def _metric(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda df: df.set_index("seed")[name].sort_index()


def _fpgm_differs(df: pd.DataFrame) -> pd.Series:
    df = df.set_index("seed").sort_index()
    return df["l1-l2"] - df["fpgm-l2"]


def _taylor_over_l1(df: pd.DataFrame) -> pd.Series:
    return _mean_over(df, "sparsity", "criterion", "taylor", "l1")


def _surgeon_first(df: pd.DataFrame) -> pd.DataFrame:
    """The gaps OBD - OBS and magnitude - OBD in log10 of the loss's rise, mean over the sparsities."""
    import pandas as pd

    table = df.pivot(index=["sparsity", "seed"], columns="criterion", values="rise").clip(lower=1e-6).map(math.log10)
    means = table.groupby("seed").mean()
    gaps = {"OBD - OBS": means["obd"] - means["obs"], "magnitude - OBD": means["magnitude"] - means["obd"]}
    return pd.DataFrame(gaps)


def _relevance(data: Sequence[str], samples: int, other: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Accuracy with LRP minus that with another criterion, on each data set."""

    def effects(df: pd.DataFrame) -> pd.DataFrame:
        rows = df[df["data"].isin(data)]
        lrp = rows[(rows["criterion"] == "lrp") & (rows["samples"] == samples)]
        against = rows[(rows["criterion"] == other) & ((rows["samples"] == samples) | (other == "l1"))]
        gap = lrp.set_index(["data", "seed"])["accuracy"] - against.set_index(["data", "seed"])["accuracy"]
        return _apart(gap, "data")

    return effects


# Claim -> the recorded rows that judge it, and how one number per seed (and part of the claim) is read off them.
READINGS: dict[str, tuple[tuple[str, ...], Callable[..., pd.Series | pd.DataFrame]]] = {
    "synflow-conserves": (("conservation",), _spread(["lenet-300-100", "vgg"], trained=False)),
    "synflow-conserves-biases": (("conservation",), _spread(["lenet-300-100"], trained=True)),
    "synflow-conserves-resnet": (("conservation",), _spread(["resnet-20"], trained=False)),
    "synflow-to-the-maximum": (("critical",), _to_the_maximum),
    "one-shot-collapses-earlier": (("critical",), _earlier_than_iterated),
    "synflow-one-shot-first": (("critical",), _synflow_before_others),
    "snip-iteration-delays": (("critical",), _delay("snip")),
    "force-delays": (("critical",), _delay("force")),
    "global-beats-layer": (("allocation",), _global_minus_layer),
    "layer-beats-global-at-equal-macs": (("allocation",), _layer_minus_global_at_equal_macs),
    "iterative-beats-one-shot": (("rewinding",), _iterative_minus_one_shot),
    "effective-exceeds-direct": (("effective",), _effective_over_direct),
    "order-of-collapse": (("critical",), _in_order),
    "synflow-mean-by-size": (("sizes",), _slope),
    "synflow-largest-first": (("sizes",), _largest_first),
    "shuffled-masks": (("sanity",), _changed("shuffle")),
    "reinitialised-masks": (("sanity",), _changed("reinitialise")),
    "before-beats-random": (("headline",), _before_beats_random),
    "after-beats-before": (("headline", "allocation"), _after_beats_before),
    "formula-masks": (("headline", "allocated"), _formula_masks),
    "random-matches-dense": (("width",), _random_matches_dense),
    "width-closes-the-gap": (("width",), _width_closes_the_gap),
    "data-free-is-as-good": (("headline",), _data_free_is_as_good),
    "random-is-as-good": (("headline",), _random_is_as_good),
    "snip-labels": (("overlap",), _labels_matter_little),
    "magnitude-gains-most": (("headline", "pretrained", "allocation"), _magnitude_gains_most),
    "ends-stay-dense": (("densities",), _ends_dense),
    "one-shape": (("densities",), _one_shape),
    "l1-is-l2": (("filters",), _metric("l1-l2")),
    "fpgm-differs": (("filters",), _fpgm_differs),
    "hrank-is-stable": (("filters",), _metric("hrank")),
    "taylor-over-l1": (("channels",), _taylor_over_l1),
    "surgeon-first": (("loss",), _surgeon_first),
    "relevance-few-samples": (("units",), _relevance(["moons"], 5, "taylor")),
    "relevance-over-weight": (("units",), _relevance(["circles"], 5, "l1")),
    "relevance-over-gradient": (("units",), _relevance(["moons"], 5, "gradient")),
    "relevance-edge-is-small": (("units",), _relevance(["moons", "spirals"], 5, "l1")),
}
