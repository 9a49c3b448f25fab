"""A claim, its evidence over seeds, and its verdict: holds, does not hold here, undecided."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from workbench.shipped import shipped
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["holds", "does not hold here", "undecided"]
CLAIM_MIME = "application/vnd.workbench.claim+json"
NUMBERS_MIME = "application/vnd.workbench.numbers+json"
_MARKS = {"holds": ("✓", "#005f46"), "does not hold here": ("✗", "#8f2d00"), "undecided": ("?", "#4d4d4d")}


@dataclass(frozen=True)
class Claim:
    """A sentence of the literature made testable: it holds where `effect` lies `direction` (above, below) `threshold`.

    `effect` says in words what one number per seed is. An exact claim (algebra, counting) is judged seed by seed
    without an interval: every number must lie on the claimed side of the threshold, which is then a tolerance.
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

    def __post_init__(self) -> None:
        check_choice(f"direction of claim {self.id!r}", self.direction, ("above", "below"))


@dataclass(frozen=True)
class Evidence:
    """What the numbers say about a claim. It shows itself in a notebook and travels as JSON (`row()`)."""

    claim: Claim
    effect: float
    low: float
    high: float
    n: int
    detectable: float
    verdict: Verdict
    seeds: tuple[int, ...]

    def row(self) -> dict[str, Any]:
        """The evidence as plain values; a number that does not exist (an interval of one seed) is None."""
        facts = {name: getattr(self.claim, name) for name in ("id", "section", "statement", "source", "setting")}
        numbers = {n: getattr(self, n) for n in ("effect", "low", "high", "n", "verdict", "detectable", "seeds")}
        nothing = {name: None for name, v in numbers.items() if isinstance(v, float) and not math.isfinite(v)}
        return {**facts, **numbers, **nothing, "seeds": list(self.seeds)}

    def __str__(self) -> str:
        c = self.claim
        if c.exact:
            numbers = f"mean {self.effect:.3g}, from {self.low:.3g} to {self.high:.3g} over {self.n} seeds"
        elif self.n < 2:
            numbers = f"{self.effect:.3g} from one seed, no interval"
        else:
            numbers = (
                f"{self.effect:.3g}, 95 % interval [{self.low:.3g}, {self.high:.3g}], n = {self.n}, "
                f"smallest detectable distance from {c.threshold:g}: {self.detectable:.3g}"
            )
        return f"{self.verdict}: {c.statement} ({c.effect} {c.direction} {c.threshold:g}: {numbers}; {c.setting})"

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

    entries = yaml.safe_load(shipped("claims.yaml").read_text(encoding="utf-8"))
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


def judge(claim: str | Claim, effects: Mapping[int, float] | Sequence[float] | pd.Series) -> Evidence:
    """Judge a claim (an id of `load_claims()` or a `Claim` of your own) by one number per seed.

    `effects` is seed -> number (a dict or a Series), or a list for seeds 0, 1, 2, ... . Verdict: "holds" if the whole
    95 % interval lies strictly on the claimed side of the threshold, "does not hold here" if it lies strictly on the
    other side, else "undecided"; one seed is always undecided. Exact claims: see `Claim`.

    >>> claim = Claim("a", "7.2", "a beats b", "arXiv:0000.00000", "toy", "a - b", "above", 0)
    >>> judge(claim, [0.02, 0.03, 0.04]).verdict, judge(claim, [0.02, -0.03, 0.04]).verdict
    ('holds', 'undecided')
    """
    if isinstance(claim, str):
        claims = load_claims()
        claim = claims[check_choice("claim", claim, claims)]
    pairs: Any = effects.items() if hasattr(effects, "items") else enumerate(effects)
    by_seed = {int(seed): float(value) for seed, value in pairs}
    if not by_seed:
        raise ValueError(f"claim {claim.id!r} is judged by one number per seed; got none")
    if bad := [seed for seed, value in by_seed.items() if not math.isfinite(value)]:
        raise ValueError(
            f"effects of claim {claim.id!r} are finite numbers; those of seeds {bad} are not. Leave them out"
        )
    values = list(by_seed.values())
    if claim.exact:
        mean, low, high, smallest = sum(values) / len(values), min(values), max(values), 0.0
        sides = [_side(claim, v) for v in values]
        verdict: Verdict = "holds" if min(sides) > 0 else "does not hold here"
    else:
        (mean, low, high), smallest = interval(values), detectable(values)
        sides = [_side(claim, low), _side(claim, high)]
        verdict = "holds" if min(sides) > 0 else "does not hold here" if max(sides) < 0 else "undecided"
    return Evidence(claim, mean, low, high, len(values), smallest, verdict, tuple(by_seed))


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

    Arms whose intervals overlap are not ranked. Paired seeds often tell more: see `compare`.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"arm": ["x"] * 3 + ["y"] * 3, "accuracy": [0.90, 0.91, 0.92, 0.50, 0.51, 0.52]})
    >>> arms(df, "accuracy", "arm")["beats"].tolist()
    ['y', '']
    """
    import pandas as pd

    for column in (value, arm):
        check_choice("column", column, df.columns)
    rows: dict[Any, dict[str, Any]] = {}
    for name, group in df.groupby(arm, sort=False):
        mean, low, high = interval(group[value].tolist())
        rows[name] = {"mean": mean, "low": low, "high": high, "n": len(group)}
    for row in rows.values():
        row["beats"] = ", ".join(str(other) for other in rows if rows[other]["high"] < row["low"])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(arm)


def table_html(evidence: Sequence[Evidence]) -> str:
    """One HTML table of verdicts; what a verdict says stands in words, colour only repeats it."""
    heads = ("Verdict", "Claim", "Effect", "95 % interval", "n", "Detectable", "Setting", "Source")
    lines = []
    for e in evidence:
        mark, colour = _MARKS[e.verdict]
        c = e.claim
        ends = "none (one seed)" if math.isnan(e.low) else f"{e.low:.3g} to {e.high:.3g}"
        cells = (
            f"{html.escape(c.statement)} <small>({html.escape(c.id)}, section {html.escape(c.section)})</small>",
            f"{e.effect:.3g} <small>{html.escape(c.effect)}; claimed {c.direction} {c.threshold:g}</small>",
            f"{ends} <small>(least to largest)</small>" if c.exact else ends,
            str(e.n),
            "exact" if c.exact else "none" if math.isnan(e.detectable) else f"{e.detectable:.2g}",
            html.escape(c.setting),
            html.escape(c.source),
        )
        verdict = f'<strong style="color:{colour}; background:#fff; padding:0 .3em">{mark} {e.verdict}</strong>'
        lines.append(
            "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in (verdict, *cells)) + "</tr>"
        )
    head = "".join(f'<th scope="col" style="text-align:left">{h}</th>' for h in heads)
    return f'<table class="wb-claims"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


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


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 in the denominator; NaN for one value)."""
    n = len(values)
    mean = sum(values) / n
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
