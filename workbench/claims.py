"""A claim, its evidence over seeds, and its verdict (holds, does not hold here, undecided); a ledger of many claims."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.extras import lab
from workbench.intervals import arms, compare, detectable, differ, interval, mean_and_error, rounding
from workbench.project_data import project_data
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Claim", "Evidence", "Verdicts", "adjust", "arms", "compare", "detectable", "differ", "interval", "judge"]
__all__ += ["load_claims", "mean_and_error", "rounding", "show_number"]

Verdict = Literal["holds", "does not hold here", "undecided"]
CLAIM_MIME = "application/vnd.workbench.claim+json"
NUMBERS_MIME = "application/vnd.workbench.numbers+json"
LEVEL = 0.025  # of a verdict, one-sided: that of either end of a 95 % interval


@dataclass(frozen=True)
class Claim:
    """A sentence of the literature made testable: it holds if `effect` is `direction` (above, below) `threshold`.

    `effect` says in words what the numbers are, one per seed and part. An exact claim (algebra, counting) needs no
    interval: every number must be on the claimed side of the threshold, which is then a tolerance. If the effect is an
    accuracy, `images` is the number of test images that all seeds share: one image moves all seeds together, so the
    interval must be beyond the threshold by more than one image.
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
    """What the numbers say about a claim. A notebook shows it; `row()` gives it as plain values.

    Effect, interval and `detectable` are those of `part`, the part that decided ("" if there is only one). `p` is
    one-sided, the largest of the parts; `bh` and `holm` are p adjusted for the other claims of a ledger (`adjust`).
    What does not exist (an interval of one seed, the p of an exact claim) is NaN.
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
        """The verdict, marked if a claim holds by its own interval, but not after adjustment for all claims."""
        lost = self.verdict == "holds" and self.bh > LEVEL
        return f"{self.verdict}, but not among all claims" if lost else self.verdict

    def row(self) -> dict[str, Any]:
        """The evidence as plain values; a number that does not exist is None."""
        facts = {name: getattr(self.claim, name) for name in ("id", "section", "statement", "source", "setting")}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "claim"}
        plain = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}
        return {**facts, **plain, "words": self.words, "seeds": list(self.seeds)}

    def __str__(self) -> str:
        c, part = self.claim, f"{self.part}: " if self.part else ""
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
        text = "\n".join(map(str, self))
        return {"text/plain": text, "text/html": table_html(self), CLAIM_MIME: [evidence.row() for evidence in self]}


@functools.cache
def load_claims() -> Mapping[str, Claim]:
    """Every claim of `data/claims.yaml` by its id.

    >>> load_claims()["synflow-conserves"].exact
    True
    """
    import yaml

    claims: dict[str, Claim] = {}
    for entry in yaml.safe_load(project_data("claims.yaml").read_text(encoding="utf-8")):
        for name in entry:
            check_choice(f"field of claim {entry.get('id')!r}", name, [f.name for f in fields(Claim)])
        if entry["id"] in claims:
            raise ValueError(f"each claim has its own id; {entry['id']!r} is in claims.yaml twice")
        claims[entry["id"]] = Claim(**entry)
    return MappingProxyType(claims)


def judge(claim: str | Claim, effects: Mapping[int, float] | Sequence[float] | pd.Series | pd.DataFrame) -> Evidence:
    """Judge a claim (an id of `load_claims()` or a `Claim` of your own) by one number per seed.

    `effects` is seed -> number (a dict or a Series), or a list for seeds 0, 1, 2, ... . Verdict: "holds" if the whole
    95 % interval lies on the claimed side of the threshold, "does not hold here" if it lies on the other side, else
    "undecided", as are numbers without a spread (one seed, or the same at every seed). The interval must be beyond the
    threshold by more than rounding, and by more than one of the claim's test `images`. Exact claims: see `Claim`.
    p is that of t = (mean - threshold) / (s / sqrt(n)), one-sided.

    A claim of several parts (each of two networks, of three criteria) takes a DataFrame, a row per seed and a column
    per part. It holds if every part does by its own interval (an intersection-union test: no correction is needed),
    does not hold if some part does not, else it is undecided. Shown is the part that decides: with the largest p of
    those that have the claim's verdict. (The worst part of each seed would be biased: E[min] < min E.)

    Misleads about new data: the interval is for new seeds on the same test images.

    >>> claim = Claim("a", "7.2", "a beats b", "arXiv:0000.00000", "toy", "a - b", "above", 0)
    >>> judge(claim, [0.02, 0.03, 0.04]).verdict, judge(claim, [0.02, -0.03, 0.04]).verdict
    ('holds', 'undecided')
    """
    if isinstance(claim, str):
        claim = load_claims()[check_choice("claim", claim, load_claims())]
    seeds, parts = _parts(claim, effects)
    judged = [_judge_part(claim, seeds, *part) for part in parts.items()]
    order = ("holds", "undecided", "does not hold here")
    shown = max(judged, key=lambda evidence: (order.index(evidence.verdict), _doubt(evidence)))
    return replace(shown, p=float(np.max([evidence.p for evidence in judged])))


def _judge_part(claim: Claim, seeds: tuple[int, ...], part: str, values: list[float]) -> Evidence:
    from scipy import stats

    n = len(values)
    if claim.exact:
        verdict: Verdict = "holds" if min(_side(claim, v) for v in values) > 0 else "does not hold here"
        return Evidence(claim, sum(values) / n, min(values), max(values), n, 0.0, verdict, seeds, part)
    mean, low, high = interval(values)
    if not differ(values):
        return Evidence(claim, mean, math.nan, math.nan, n, math.nan, "undecided", seeds, part)
    p = float(stats.t.sf(_side(claim, mean) / mean_and_error(values)[1], n - 1))
    sides = [_side(claim, low), _side(claim, high)]
    least = max(rounding([*values, claim.threshold]), 1 / claim.images if claim.images else 0.0)
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
    j <= k of min(1, p_(j) (m - j + 1)). Of the claims with bh <= q a share of q is expected to be false, if the tests
    are independent or depend positively; one false claim among those with holm <= q has a chance of q at most.
    Exact claims are not counted; one without p counts with p = 1. Sources: doi:10.1111/j.2517-6161.1995.tb02031.x,
    Holm 1979 (Scandinavian Journal of Statistics 6, 65-70).

    >>> claim = Claim("a", "7.2", "a beats b", "arXiv:0000.00000", "toy", "a - b", "above", 0)
    >>> ledger = adjust([judge(claim, [3, 4, 6]), judge(claim, [1, 3, 0])])
    >>> [(round(e.p, 3), round(e.bh, 3), round(e.holm, 3)) for e in ledger]
    [(0.02, 0.039, 0.039), (0.135, 0.135, 0.135)]
    """
    ledger = list(ledger)
    tested = [i for i, evidence in enumerate(ledger) if not evidence.claim.exact]
    p = np.nan_to_num([ledger[i].p for i in tested], nan=1.0)
    order, m = np.argsort(p, kind="stable"), len(p)
    bh = np.minimum.accumulate((p[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    holm = np.maximum.accumulate(np.minimum(1.0, p[order] * (m - np.arange(m))))
    for place, one, other in zip(order, bh, holm, strict=True):
        ledger[tested[place]] = replace(ledger[tested[place]], bh=float(one), holm=float(other))
    return Verdicts(ledger)


def table_html(evidence: Sequence[Evidence]) -> str:
    """One HTML table of verdicts. Words give the verdict; colour only repeats it."""
    from workbench.templates import html

    return str(html("verdicts", ledger=evidence, threshold=_threshold, why_none=_why_none))


def show_number(name: str, value: Any) -> None:
    """Show a number of a notebook under its name, in a form that a test can compare between the notebook's faces."""
    value = value.item() if hasattr(value, "item") else value
    shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    lab("IPython.display").display({"text/plain": f"{name} = {shown}", NUMBERS_MIME: {name: value}}, raw=True)


def _side(claim: Claim, value: float) -> float:
    """Distance of a value from the threshold, positive on the claimed side."""
    return (value - claim.threshold) * (1 if claim.direction == "above" else -1)


def _parts(claim: Claim, effects: Any) -> tuple[tuple[int, ...], dict[str, list[float]]]:
    """The seeds, and the numbers of every part of a claim in their order; checked."""
    what = f"effects of claim {claim.id!r}"
    if not hasattr(effects, "__iter__"):
        raise TypeError(f"{what} are one number per seed: a dict, a Series, a list, or a DataFrame; got {effects!r}")
    if hasattr(effects, "columns"):
        names = [", ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in effects.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"{what} are one column per part, each with its own name; got {', '.join(names)}")
        seeds, table = list(effects.index), dict(zip(names, effects.to_numpy().T.tolist(), strict=True))
    else:
        pairs = list(effects.items() if hasattr(effects, "items") else enumerate(effects))
        seeds, table = [seed for seed, _ in pairs], {"": [value for _, value in pairs]}
    if not seeds or not table:
        raise ValueError(f"claim {claim.id!r} is judged by one number per seed; got none")
    if odd := [s for s in seeds if not isinstance(s, Integral) and not (isinstance(s, float) and s.is_integer())]:
        raise ValueError(f"{what} are found by seeds, which are whole numbers; got {odd}")
    if twice := sorted({int(seed) for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(
            f"{what} are one number per seed; seeds {twice} appear more than once. Choose one setting, take the mean "
            "over settings, or pass a DataFrame with one column per part of the claim"
        )
    whole = tuple(map(int, seeds))
    for part, values in table.items():
        real = [(isinstance(v, Real) or getattr(v, "ndim", None) == 0) and math.isfinite(v) for v in values]
        if bad := [seed for seed, is_real in zip(whole, real, strict=True) if not is_real]:
            named = f" of {part}" if part else ""
            raise ValueError(f"{what} are finite numbers; those{named} of seeds {bad} are not. Leave them out")
    return whole, {part if len(table) > 1 else "": [float(v) for v in values] for part, values in table.items()}


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
