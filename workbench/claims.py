"""A claim, its evidence over seeds, and its verdict (holds, does not hold here, undecided); a ledger of many claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from workbench.project_data import project_data
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["holds", "does not hold here", "undecided"]
CLAIM_MIME = "application/vnd.workbench.claim+json"
NUMBERS_MIME = "application/vnd.workbench.numbers+json"
LEVEL = 0.025
"""One-sided level of a verdict: that of either end of a 95 % interval."""

ROUNDING = 1e-12
"""What sums of floats may be off, relative to the largest number in them and at least 1."""

_MARKS = {"holds": ("✓", "#005f46"), "does not hold here": ("✗", "#8f2d00"), "undecided": ("?", "#4d4d4d")}


@dataclass(frozen=True)
class Claim:
    """A sentence of the literature made testable: it holds where `effect` lies `direction` (above, below) `threshold`.

    `effect` says in words what one number per seed is, or one number per seed and part. An exact claim (algebra,
    counting) is judged seed by seed without an interval: every number must lie on the claimed side of the threshold,
    which is then a tolerance. `images` is how many test images an accuracy was measured on where all seeds share them:
    one image more or less moves all seeds together, so that an interval has to clear the threshold by more than that.
    """

    id: str
    section: str
    statement: str
    source: str
    setting: str
    effect: str
    direction: Literal["above", "below"]
    threshold: float
    exact: bool = False
    images: int = 0

    def __post_init__(self) -> None:
        check_choice(f"direction of claim {self.id!r}", self.direction, ("above", "below"))


@dataclass(frozen=True)
class Evidence:
    """What the numbers say about a claim. It shows itself in a notebook and travels as JSON (`row()`).

    Effect, interval and `detectable` are those of `part`, the part of the claim that decided ("" where it has one part
    only). `p` is one-sided, against the threshold, the largest of the parts; `bh` and `holm` are p adjusted for the
    other claims of a ledger (`adjust`). What does not exist (an interval of one seed, the p of an exact claim) is NaN.
    """

    claim: Claim
    effect: float
    low: float
    high: float
    n: int
    detectable: float
    verdict: Verdict
    seeds: tuple[int, ...]
    part: str = ""
    p: float = math.nan
    bh: float = math.nan
    holm: float = math.nan

    @property
    def words(self) -> str:
        """The verdict, marked where a claim holds by its own interval and not among all claims of its ledger."""
        lost = self.verdict == "holds" and self.bh > LEVEL
        return f"{self.verdict}, but not among all claims" if lost else self.verdict

    def row(self) -> dict[str, Any]:
        """The evidence as plain values; a number that does not exist (an interval of one seed) is None."""
        facts = {name: getattr(self.claim, name) for name in ("id", "section", "statement", "source", "setting")}
        names = ("effect", "low", "high", "n", "verdict", "detectable", "seeds", "part", "p", "bh", "holm")
        numbers = {n: getattr(self, n) for n in names}
        nothing = {name: None for name, v in numbers.items() if isinstance(v, float) and not math.isfinite(v)}
        return {**facts, **numbers, **nothing, "words": self.words, "seeds": list(self.seeds)}

    def __str__(self) -> str:
        c = self.claim
        part = f"{self.part}: " if self.part else ""
        if c.exact:
            numbers = f"mean {self.effect:.3g}, from {self.low:.3g} to {self.high:.3g} over {self.n} seeds"
        elif math.isnan(self.low):
            numbers = f"{self.effect:.3g}, no interval: {_why_none(self)}"
        else:
            numbers = (
                f"{self.effect:.3g}, 95 % interval [{self.low:.3g}, {self.high:.3g}], n = {self.n}, p = {self.p:.2g}, "
                f"smallest detectable distance from {c.threshold:g}: {self.detectable:.3g}"
            )
        return f"{self.words}: {c.statement} ({c.effect} {c.direction} {_threshold(c)}: {part}{numbers}; {c.setting})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return Verdicts([self])._repr_mimebundle_()


class Verdicts(list[Evidence]):
    """Several verdicts that show themselves as one table; as JSON, one row each."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        text = "\n".join(str(evidence) for evidence in self)
        return {"text/plain": text, "text/html": table_html(self), CLAIM_MIME: [evidence.row() for evidence in self]}


def load_claims() -> dict[str, Claim]:
    """Every claim of `data/claims.yaml` by its id; the facts of a claim stand there once.

    >>> load_claims()["synflow-conserves"].exact
    True
    """
    import yaml

    entries = yaml.safe_load(project_data("claims.yaml").read_text(encoding="utf-8"))
    claims: dict[str, Claim] = {}
    for entry in entries:
        names = [f.name for f in fields(Claim)]
        for name in entry:
            check_choice(f"field of claim {entry.get('id')!r}", name, names)
        if entry["id"] in claims:
            raise ValueError(f"claims have ids of their own; {entry['id']!r} stands twice in claims.yaml")
        claims[entry["id"]] = Claim(**entry)
    return claims


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high): the Student-t interval mean -+ t((1 + level)/2, n - 1) s / sqrt(n); NaN ends for n = 1.

    It covers the true mean in `level` of repetitions at any n if the values are normal, where a percentile bootstrap
    of five covers about 84 %. Misleads for values pressed against a bound, such as accuracies near 1.

    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy import stats

    mean, deviation = _moments(values)
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return mean, mean - half, mean + half


def detectable(values: Sequence[float], power: float = 0.8, level: float = 0.95) -> float:
    """Smallest distance from the threshold that n such values would have shown with probability `power`.

    (t((1 + level)/2, n - 1) + t(power, n - 1)) s / sqrt(n) (Bloom 1995, doi:10.1177/0193841X9501900504), with the
    deviation s of the values themselves: at few seeds it is as uncertain as s is. NaN for n = 1.

    >>> round(detectable([1.0, 2.0, 3.0]), 3)
    3.097
    """
    from scipy import stats

    n, (_, deviation) = len(values), _moments(values)
    t = float(stats.t.ppf((1 + level) / 2, n - 1) + stats.t.ppf(power, n - 1))
    return t * deviation / math.sqrt(n)


def judge(claim: str | Claim, effects: Mapping[int, float] | Sequence[float] | pd.Series | pd.DataFrame) -> Evidence:
    """Judge a claim (an id of `load_claims()` or a `Claim` of your own) by one number per seed.

    `effects` is seed -> number (a dict or a Series), or a list for seeds 0, 1, 2, ... . Verdict: "holds" if the whole
    95 % interval lies on the claimed side of the threshold, "does not hold here" if it lies on the other side, else
    "undecided". The interval's end has to clear the threshold by more than rounding, and by more than one image where
    the claim names its test `images`. One seed is undecided, and so are numbers that differ by rounding alone: without
    a spread there is no interval. p is that of t = (mean - threshold) / (s / sqrt(n)), one-sided. Exact claims: see
    `Claim`.

    A claim of several parts (each of two networks, each of three criteria) takes a DataFrame, one row per seed and one
    column per part. It holds if every part does by its own interval (an intersection-union test: the parts need no
    correction), does not hold if some part does not, else it is undecided; its p is the largest of the parts. Shown is
    the part that decides: with the largest p of those that have the claim's verdict. (The worst part of each seed
    would be another number, and biased: E[min] < min E.)

    Misleads where seeds share what they are measured on: the interval is that of new seeds on the same test images.

    >>> claim = Claim("a", "7.2", "a beats b", "arXiv:0000.00000", "toy", "a - b", "above", 0)
    >>> judge(claim, [0.02, 0.03, 0.04]).verdict, judge(claim, [0.02, -0.03, 0.04]).verdict
    ('holds', 'undecided')
    """
    if isinstance(claim, str):
        claims = load_claims()
        claim = claims[check_choice("claim", claim, claims)]
    seeds, parts = _parts(claim, effects)
    judged = [_judge_part(claim, seeds, *part) for part in parts.items()]
    verdicts = {evidence.verdict for evidence in judged}
    verdict = next(v for v in ("does not hold here", "undecided", "holds") if v in verdicts)
    shown = max((evidence for evidence in judged if evidence.verdict == verdict), key=_doubt)
    p = [evidence.p for evidence in judged]
    return replace(shown, p=math.nan if any(map(math.isnan, p)) else max(p))


def _judge_part(claim: Claim, seeds: tuple[int, ...], part: str, values: list[float]) -> Evidence:
    """The evidence of one part of a claim."""
    from scipy import stats

    n = len(values)
    if claim.exact:
        holds = min(_side(claim, v) for v in values) > 0
        verdict: Verdict = "holds" if holds else "does not hold here"
        return Evidence(claim, sum(values) / n, min(values), max(values), n, 0.0, verdict, seeds, part)
    mean, low, high = interval(values)
    if not _spread(values):
        return Evidence(claim, mean, math.nan, math.nan, n, math.nan, "undecided", seeds, part)
    p = float(stats.t.sf(_side(claim, mean) / (_moments(values)[1] / math.sqrt(n)), n - 1))
    sides = [_side(claim, low), _side(claim, high)]
    least = max(_rounding([*values, claim.threshold]), 1 / claim.images if claim.images else 0.0)
    verdict = "holds" if min(sides) > least else "does not hold here" if max(sides) < -least else "undecided"
    return Evidence(claim, mean, low, high, n, detectable(values), verdict, seeds, part, p)


def _doubt(evidence: Evidence) -> float:
    """How little a part supports its claim."""
    if evidence.claim.exact:
        return -min(_side(evidence.claim, evidence.low), _side(evidence.claim, evidence.high))
    return math.inf if math.isnan(evidence.p) else evidence.p


def adjust(ledger: Iterable[Evidence]) -> Verdicts:
    """The evidence with p values adjusted for all claims in it: `bh` (Benjamini and Hochberg) and `holm`.

    With m claims and p_(k) the k-th smallest p: bh_(k) = min over j >= k of min(1, p_(j) m / j), holm_(k) = max over
    j <= k of min(1, p_(j) (m - j + 1)). Of the claims with bh <= q a share of q is expected to be false; one false
    claim among those with holm <= q has a chance of q at most, however the claims hang together. Exact claims are not
    counted; a claim that has no p counts with p = 1. Sources: doi:10.1111/j.2517-6161.1995.tb02031.x (BH, for tests
    that are independent or depend positively), Holm 1979 (Scandinavian Journal of Statistics 6, 65-70).

    >>> claim = Claim("a", "7.2", "a beats b", "arXiv:0000.00000", "toy", "a - b", "above", 0)
    >>> ledger = adjust([judge(claim, [3, 4, 6]), judge(claim, [1, 3, 0])])
    >>> [(round(e.p, 3), round(e.bh, 3), round(e.holm, 3)) for e in ledger]
    [(0.02, 0.039, 0.039), (0.135, 0.135, 0.135)]
    """
    ledger = list(ledger)
    tested = [i for i, e in enumerate(ledger) if not e.claim.exact]
    p = {i: 1.0 if math.isnan(ledger[i].p) else ledger[i].p for i in tested}
    order = sorted(tested, key=p.__getitem__)
    m, bh, holm = len(order), 1.0, 0.0
    for k in range(m, 0, -1):
        i = order[k - 1]
        bh = min(bh, p[i] * m / k)
        ledger[i] = replace(ledger[i], bh=bh)
    for k, i in enumerate(order, start=1):
        holm = max(holm, min(1.0, p[i] * (m - k + 1)))
        ledger[i] = replace(ledger[i], holm=holm)
    return Verdicts(ledger)


def compare(df: pd.DataFrame, value: str, arm: str, a: str, b: str, by: str = "seed") -> pd.DataFrame:
    """Paired differences of two arms: one row per seed, columns a, b and `difference` = a - b.

    `df` is tidy with one row per arm and seed: choose one setting (one compression, one network) before.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"criterion": ["x", "y", "x", "y"], "seed": [0, 0, 1, 1], "accuracy": [0.9, 0.8, 0.7, 0.4]})
    >>> compare(df, "accuracy", "criterion", "x", "y")["difference"].round(3).tolist()
    [0.1, 0.3]
    """
    for column in (value, arm, by):
        check_choice("column", column, df.columns)
    options = list(df[arm].unique())
    for name in (a, b):
        if name not in options:
            raise ValueError(f"{arm} is one of {', '.join(map(str, sorted(options)))}; got {name!r}")
    sides = {name: df[df[arm] == name].set_index(by)[value] for name in (a, b)}
    for name, side in sides.items():
        if not side.index.is_unique:
            raise ValueError(
                f"{name!r} has several rows for one {by}; choose one setting first, such as one compression"
            )
    if set(sides[a].index) != set(sides[b].index):
        lone = sorted(set(sides[a].index) ^ set(sides[b].index))
        raise ValueError(f"pairs need both arms; {by} {lone} has only one of {a!r} and {b!r}. Run or drop them")
    table = sides[a].to_frame(a).join(sides[b].rename(b)).sort_index()
    return table.assign(difference=table[a] - table[b])


def arms(df: pd.DataFrame, value: str, arm: str) -> pd.DataFrame:
    """Mean, 95 % interval and n of each arm, and which arms it beats: those whose interval lies wholly below its own.

    Arms whose intervals overlap are not ranked, nor are arms whose seeds differ by rounding alone, which have no
    interval. Paired seeds often tell more: see `compare`.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"arm": ["x"] * 3 + ["y"] * 3, "accuracy": [0.90, 0.91, 0.92, 0.50, 0.51, 0.52]})
    >>> arms(df, "accuracy", "arm")["beats"].tolist()
    ['y', '']
    """
    import pandas as pd

    for column in (value, arm):
        check_choice("column", column, df.columns)
    rows: dict[Any, dict[str, Any]] = {}
    ranked: dict[Any, bool] = {}
    for name, group in df.groupby(arm, sort=False):
        mean, low, high = interval(group[value].tolist())
        rows[name] = {"mean": mean, "low": low, "high": high, "n": len(group)}
        ranked[name] = _spread(group[value].tolist())
    for name, row in rows.items():
        beaten = [other for other in rows if ranked[name] and ranked[other] and rows[other]["high"] < row["low"]]
        row["beats"] = ", ".join(map(str, beaten))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(arm)


def table_html(evidence: Sequence[Evidence]) -> str:
    """One HTML table of verdicts; what a verdict says stands in words, colour only repeats it."""
    from workbench.templates import html

    rows = [
        {
            "e": e,
            "mark": _MARKS[e.verdict],
            "ends": f"none ({_why_none(e)})" if math.isnan(e.low) else f"{e.low:.3g} to {e.high:.3g}",
            "threshold": _threshold(e.claim),
            "told": ["exact" if e.claim.exact else _told(v) for v in (e.detectable, e.p, e.bh, e.holm)],
        }
        for e in evidence
    ]
    return str(html("verdicts", rows=rows))


def record(name: str, value: Any) -> None:
    """Show a number of a notebook under its name, in a form that a test can compare between the notebook's faces."""
    from IPython.display import display

    if hasattr(value, "item"):
        value = value.item()
    shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    display({"text/plain": f"{name} = {shown}", NUMBERS_MIME: {name: value}}, raw=True)


def _side(claim: Claim, value: float) -> float:
    """Distance of a value from the threshold, positive on the claimed side (NaN counts as neither)."""
    return (value - claim.threshold) * (1 if claim.direction == "above" else -1)


def _parts(claim: Claim, effects: Any) -> tuple[tuple[int, ...], dict[str, list[float]]]:
    """The seeds, and the numbers of every part of a claim in their order; checked."""
    what = f"effects of claim {claim.id!r}"
    if hasattr(effects, "columns"):
        names = [", ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in effects.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"{what} are one column per part, under names of their own; got {', '.join(names)}")
        seeds, table = list(effects.index), dict(zip(names, effects.to_numpy().T.tolist(), strict=True))
    elif hasattr(effects, "items"):
        seeds, table = list(effects.keys()), {"": [value for _, value in effects.items()]}
    else:
        table = {"": list(effects)}
        seeds = list(range(len(table[""])))
    if not seeds or not table:
        raise ValueError(f"claim {claim.id!r} is judged by one number per seed; got none")
    if odd := [s for s in seeds if not isinstance(s, Integral) and not (isinstance(s, float) and s.is_integer())]:
        raise ValueError(f"{what} are found by seeds, which are whole numbers; got {odd}")
    whole = [int(seed) for seed in seeds]
    if twice := sorted({seed for seed in whole if whole.count(seed) > 1}):
        raise ValueError(
            f"{what} are one number per seed; seeds {twice} come more than once. Choose one setting, take the mean "
            "over settings, or pass a DataFrame with one column per part of the claim"
        )
    for part, values in table.items():
        if bad := [seed for seed, v in zip(whole, values, strict=True) if not (_is_real(v) and math.isfinite(v))]:
            named = f" of {part}" if part else ""
            raise ValueError(f"{what} are finite numbers; those{named} of seeds {bad} are not. Leave them out")
    only = len(table) == 1
    return tuple(whole), {"" if only else part: [float(v) for v in values] for part, values in table.items()}


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) or getattr(value, "ndim", None) == 0


def _threshold(claim: Claim) -> str:
    """The threshold in words; in test images where all seeds are measured on the same."""
    shared = f"of the {claim.images} test images that all seeds share"
    if not claim.images:
        return f"{claim.threshold:g}"
    if not claim.threshold:
        return f"0 by more than one {shared}"
    return f"{claim.threshold:g} ({abs(claim.threshold) * claim.images:.3g} {shared}) by more than one image"


def _why_none(evidence: Evidence) -> str:
    return "one seed" if evidence.n == 1 else "the same at every seed"


def _told(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.2g}"


def _rounding(values: Sequence[float]) -> float:
    return ROUNDING * max(1.0, *map(abs, values))


def _spread(values: Sequence[float]) -> bool:
    """Whether numbers differ by more than rounding (one number does not)."""
    return max(values) - min(values) > _rounding(values)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 in the denominator; NaN for one value)."""
    n = len(values)
    mean = sum(values) / n
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
