"""How one number per seed is read off the recorded rows, for every claim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.claims import compare

if TYPE_CHECKING:
    import pandas as pd

ONE_SHOT = ["random", "magnitude", "snip", "grasp", "synflow"]


def _spread(networks: Sequence[str], trained: bool) -> Callable[[pd.DataFrame], pd.Series]:
    """Per seed the largest spread of the layer sums over networks."""

    def effects(df: pd.DataFrame) -> pd.Series:
        chosen = df[df["network"].isin(networks) & (df["trained"] == trained)]
        return chosen.groupby("seed")["spread"].max()

    return effects


def _log_critical(df: pd.DataFrame, criteria: Sequence[str], rounds: int) -> pd.DataFrame:
    """log10 of critical compression of each criterion (column) by network and seed, under global allocation."""
    chosen = df[df["criterion"].isin(criteria) & (df["rounds"] == rounds) & (df["allocation"] == "global")]
    return chosen.pivot(index=["network", "seed"], columns="criterion", values="critical").map(math.log10)


def _to_the_maximum(df: pd.DataFrame) -> pd.Series:
    rows = df[(df["criterion"] == "synflow") & (df["rounds"] == 100)]
    return (rows["critical"] / rows["maximum"]).groupby(rows["seed"]).min()


def _earlier_than_iterated(df: pd.DataFrame) -> pd.Series:
    gap = _log_critical(df, ["synflow"], 100)["synflow"] - _log_critical(df, ONE_SHOT, 1).max(axis=1)
    return gap.groupby("seed").min()


def _synflow_before_others(df: pd.DataFrame) -> pd.Series:
    one = _log_critical(df, ONE_SHOT, 1)
    return (one.drop(columns="synflow").min(axis=1) - one["synflow"]).groupby("seed").min()


def _snip_iterated(df: pd.DataFrame) -> pd.Series:
    return (_log_critical(df, ["snip"], 100)["snip"] - _log_critical(df, ["snip"], 1)["snip"]).groupby("seed").min()


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


def _force_delays(df: pd.DataFrame) -> pd.Series:
    return (_log_critical(df, ["force"], 20)["force"] - _log_critical(df, ["snip"], 1)["snip"]).groupby("seed").min()


def _in_order(df: pd.DataFrame) -> pd.Series:
    """Smallest gap between neighbours in the order magnitude, SNIP, GraSP, SynFlow-100."""
    one = _log_critical(df, ["magnitude", "snip", "grasp"], 1)
    last = _log_critical(df, ["synflow"], 100)["synflow"]
    gaps = [one["snip"] - one["magnitude"], one["grasp"] - one["snip"], last - one["grasp"]]
    return _smallest(gaps).groupby("seed").min()


def _smallest(columns: Sequence[pd.Series]) -> pd.Series:
    import pandas as pd

    return pd.concat(list(columns), axis=1).min(axis=1)


def _slope(df: pd.DataFrame) -> pd.Series:
    return (df["slope"] + 1).abs().groupby(df["seed"]).max()


def _largest_first(df: pd.DataFrame) -> pd.Series:
    return df["largest_first"].groupby(df["seed"]).min()


def _changed(change: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Accuracy after a change minus that of the masks as they are, the worst criterion of each seed."""

    def effects(df: pd.DataFrame) -> pd.Series:
        rows = df[(df["compression"] == 20) & df["criterion"].isin(["snip", "grasp", "synflow"])]
        table = rows.pivot(index=["criterion", "seed"], columns="change", values="accuracy")
        return (table[change] - table["none"]).groupby("seed").min()

    return effects


def _at(df: pd.DataFrame, compression: float, *criteria: str) -> pd.DataFrame:
    """Accuracy of criteria (columns) by seed at one compression; SynFlow in 100 rounds."""
    rows = df[(df["compression"] == compression) & df["criterion"].isin(criteria)]
    return rows.pivot(index="seed", columns="criterion", values="accuracy")


def _before_beats_random(df: pd.DataFrame) -> pd.Series:
    found = _at(df, 30, "random", "snip", "grasp", "synflow")
    return found[["snip", "grasp", "synflow"]].min(axis=1) - found["random"]


def _after_beats_before(headline: pd.DataFrame, allocation: pd.DataFrame) -> pd.Series:
    after = allocation[(allocation["allocation"] == "global") & (allocation["budget"] == "weights")]
    accuracy = after[after["compression"] == 30].set_index("seed")["accuracy"]
    return accuracy - _at(headline, 30, "snip", "grasp", "synflow").max(axis=1)


def _formula_masks(headline: pd.DataFrame, allocated: pd.DataFrame) -> pd.Series:
    """Worse of ERK and Smart-Ratio minus the better of SNIP and GraSP, mean over 10x and 30x."""
    import pandas as pd

    gaps = []
    for compression in (10, 30):
        rows = allocated[(allocated["compression"] == compression) & (allocated["allocation"] != "layer")]
        worse = rows.groupby("seed")["accuracy"].min()
        gaps.append(worse - _at(headline, compression, "snip", "grasp").max(axis=1))
    return pd.concat(gaps, axis=1).mean(axis=1)


def _data_free_is_as_good(df: pd.DataFrame) -> pd.Series:
    found = _at(df, 10, "snip", "synflow")
    return found["synflow"] - found["snip"]


def _random_is_as_good(df: pd.DataFrame) -> pd.Series:
    found = _at(df, 10, "random", "snip", "synflow")
    return found["random"] - found[["snip", "synflow"]].max(axis=1)


def _labels_matter_little(df: pd.DataFrame) -> pd.Series:
    """The smallest overlap of SNIP's masks under other labels, samples or sizes of the batch."""
    return df[df["against"] != "random masks"].groupby("seed")["jaccard"].min()


def _magnitude_gains_most(headline: pd.DataFrame, pretrained: pd.DataFrame, allocation: pd.DataFrame) -> pd.Series:
    """Gain of magnitude from pretrained weights minus the largest gain of the others, at 30x."""
    after = allocation[(allocation["allocation"] == "global") & (allocation["budget"] == "weights")]
    mine = after[after["compression"] == 30].set_index("seed")["accuracy"] - _at(headline, 30, "magnitude")["magnitude"]
    others = _at(pretrained, 30, "snip", "grasp", "synflow") - _at(headline, 30, "snip", "grasp", "synflow")
    return mine - others.max(axis=1)


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


def _ends_dense(df: pd.DataFrame) -> pd.Series:
    """log10 of the sparser of first and last layer's density over that of the largest, the worst criterion."""
    table = _layers(df)
    ratio = (table.iloc[:, [0, -1]].min(axis=1) / table.iloc[:, -2]).map(math.log10)
    return ratio.groupby("seed").min()


def _one_shape(df: pd.DataFrame) -> pd.Series:
    """The smallest rank correlation of the layers' densities between two criteria."""
    import pandas as pd

    smallest = {}
    for seed, table in _layers(df).groupby("seed"):
        ranks = table.rank(axis=1).T
        smallest[seed] = min(ranks[a].corr(ranks[b]) for a, b in itertools.combinations(ranks.columns, 2))
    return pd.Series(smallest)


def _metric(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda df: df.set_index("seed")[name].sort_index()


def _fpgm_differs(df: pd.DataFrame) -> pd.Series:
    df = df.set_index("seed").sort_index()
    return df["l1-l2"] - df["fpgm-l2"]


def _taylor_over_l1(df: pd.DataFrame) -> pd.Series:
    return _mean_over(df, "sparsity", "criterion", "taylor", "l1")


def _surgeon_first(df: pd.DataFrame) -> pd.Series:
    """Smaller of the gaps OBD - OBS and magnitude - OBD in log10 of the loss's rise, mean over the sparsities."""
    table = df.pivot(index=["sparsity", "seed"], columns="criterion", values="rise").clip(lower=1e-6).map(math.log10)
    means = table.groupby("seed").mean()
    return _smallest([means["obd"] - means["obs"], means["magnitude"] - means["obd"]])


def _relevance(
    data: Sequence[str], samples: int, other: str, largest: bool = False
) -> Callable[[pd.DataFrame], pd.Series]:
    """Accuracy with LRP minus that with another criterion, the smallest (or largest) over data sets."""

    def effects(df: pd.DataFrame) -> pd.Series:
        rows = df[df["data"].isin(data)]
        lrp = rows[(rows["criterion"] == "lrp") & (rows["samples"] == samples)]
        against = rows[(rows["criterion"] == other) & ((rows["samples"] == samples) | (other == "l1"))]
        gap = lrp.set_index(["data", "seed"])["accuracy"] - against.set_index(["data", "seed"])["accuracy"]
        return gap.groupby("seed").max() if largest else gap.groupby("seed").min()

    return effects


# Claim -> the recorded rows that judge it, and how one number per seed is read off them.
READINGS: dict[str, tuple[tuple[str, ...], Callable[..., pd.Series]]] = {
    "synflow-conserves": (("conservation",), _spread(["lenet-300-100", "vgg"], trained=False)),
    "synflow-conserves-biases": (("conservation",), _spread(["lenet-300-100"], trained=True)),
    "synflow-conserves-resnet": (("conservation",), _spread(["resnet-20"], trained=False)),
    "synflow-to-the-maximum": (("critical",), _to_the_maximum),
    "one-shot-collapses-earlier": (("critical",), _earlier_than_iterated),
    "synflow-one-shot-first": (("critical",), _synflow_before_others),
    "snip-iteration-delays": (("critical",), _snip_iterated),
    "force-delays": (("critical",), _force_delays),
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
    "relevance-edge-is-small": (("units",), _relevance(["moons", "spirals"], 5, "l1", largest=True)),
}
