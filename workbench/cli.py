"""The `workbench` command."""

from __future__ import annotations

import argparse
import functools
import io
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import stopping
from workbench.files import make_folder

if TYPE_CHECKING:
    from workbench.headless import Run

MARK = "\0"
"""Marks a word that argparse must not read as an option; no word of a command line can hold it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; 0 if all went well, 1 if a notebook failed, a file could not be written or a library is
    missing, 2 for a mistake in what was asked (one line on stderr). Ctrl-C ends it with 130, SIGTERM with 143."""
    if arguments is None:
        arguments = sys.argv[1:]
        stopping.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(_values_marked(arguments))
        return int(options.command(options))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError | TypeError) else 1
    except KeyboardInterrupt:  # of a sweep, which listens itself
        print(stopping.LINE.decode(), end="", file=sys.stderr)
        return 130


def _values_marked(arguments: Sequence[str]) -> list[str]:
    """The arguments, the two words after -p marked: they are a name and a value, also where they begin with a dash."""
    marked, values = [], 0
    for word in arguments:
        marked.append(MARK + word if values else word)
        values = values - 1 if values else 2 * (word in ("-p", "--parameter"))
    return marked


def _run(options: argparse.Namespace) -> int:
    from workbench.headless import run_with_index

    if options.list:
        return _list(options.notebooks)
    return _ended(run_with_index(**_shared(options)), "notebooks finished", f"see {options.out}/index.html")


def _site(options: argparse.Namespace) -> int:
    from workbench.headless import site

    return _ended(site(**_shared(options)), "pages made", f"open {options.out}/index.html")


def _ended(runs: Sequence[Run], what: str, where: str) -> int:
    """Print how many runs went well; 1 where one failed. A page that lacks something is no failure."""
    failed, less = sum(bool(r.problems) for r in runs), sum(bool(r.page_problems) for r in runs)
    print(f"{len(runs) - failed} of {len(runs)} {what}{f', {less} with an incomplete page' if less else ''}; {where}")
    return 1 if failed else 0


def _claims(options: argparse.Namespace) -> int:
    from workbench.headless import write_claims

    print(write_claims(options.out))
    return 0


def _evidence(options: argparse.Namespace) -> int:
    from workbench import experiments

    if options.drift is not None:
        return _drift(options)
    try:
        for name in options.names or experiments.EXPERIMENTS:
            experiments.compute(name, options.out, jobs=options.jobs, progress=True)
    except RuntimeError as error:  # some rows could not be computed; the others are on disk
        print(f"workbench: {error}", file=sys.stderr)
        return 1
    return 0


def _drift(options: argparse.Namespace) -> int:
    from workbench.experiments.drift import drift, summary

    def say(name: str, number: int, seconds: float) -> None:
        print(f"{number} of {options.drift}: {name}, {seconds:.1f} s when it was recorded", file=sys.stderr, flush=True)

    table, failed = drift(options.drift, options.seed, options.budget, options.names, on_run=say)
    path = Path(options.out or "out") / "drift.csv"
    make_folder(path.parent)
    table.to_csv(path, index=False)
    print(f"{summary(table)}\nsee {path}")
    for words in failed:
        print(f"workbench: {words}", file=sys.stderr)
    return 1 if failed else 0


def _sweep(options: argparse.Namespace) -> int:
    from workbench.headless import NotebookRun, sweep_notebook
    from workbench.headless.spec import read_spec
    from workbench.sweeps import MOST, Dask, sweep
    from workbench.sweeps.points import size

    spec = read_spec(options.spec)
    given = {name: getattr(options, name) for name in ("jobs", "limit") if getattr(options, name) is not None}
    cluster = {name: getattr(options, name) for name in ("scheduler", "slurm", "kubernetes")}
    if any(value is not None for value in cluster.values()):
        given["engine"] = Dask(**cluster)
    count = sum(map(size, spec.grids))
    out = spec.out if options.out is None else options.out
    if count > MOST and not (options.yes or _agreed(f"{count:,} combinations?")):
        raise ValueError(f"grids of {count:,} combinations may be a mistake. Shorten their lists, or pass --yes")
    told: dict[str, Any] = {**spec.options, **given}
    start: Any = sweep_notebook if isinstance(spec.run, NotebookRun) else sweep
    try:
        table = start(spec.run, out, *spec.grids, **told, retry=not options.keep, most=count, progress=True)
    except RuntimeError as error:  # some runs failed; the others are on disk
        print(f"workbench: {error}", file=sys.stderr)
        return 1
    runs = table["key"].nunique()
    print(f"{runs:,} run{'s' * (runs != 1)} in {out}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from workbench.reports import export, write_report

    for target in options.export:
        print(export(options.out, target))
    if options.page or not options.export:
        by = None if options.by is None else [name.strip() for name in options.by.split(",") if name.strip()]
        print(write_report(options.out, options.page, x=options.x, y=options.y, by=by))
    return 0


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _prune_llm(options: argparse.Namespace) -> int:
    from workbench.data.text import read_reference
    from workbench.methods.post_training import calibration_tokens, prune_llm
    from workbench.methods.post_training.folders import opened
    from workbench.methods.post_training.tokens import tokenizer_of
    from workbench.seeds import pick_device
    from workbench.types import check_count

    folder = opened(options.model)
    config, device = folder.model.config.get_text_config(), pick_device(options.device)
    most = min(2048, getattr(config, "max_position_embeddings", 2048))
    context = most if options.context is None else check_count("--context", options.context)
    text = read_reference("train") if options.text is None else _text(Path(options.text))
    tokenizer = tokenizer_of(folder.path, config.vocab_size)
    tokens = calibration_tokens(text, options.samples, context, tokenizer=tokenizer, seed=options.seed)
    start, total = time.perf_counter(), len(folder.homes) - 1

    def say(block: str) -> None:
        seconds, number = time.perf_counter() - start, int(block.rpartition(".")[2]) + 1
        print(f"block {number} of {total}, {block}: {seconds:.1f} s since the start", flush=True)

    given = {name: getattr(options, name) for name in ("granularity", "exclude", "rows", "out")}
    try:
        table = prune_llm(options.model, tokens.to(device), options.method, options.sparsity, report=say, **given)
    except ValueError as error:
        words = {"exclude=": "--exclude NAME", "out=": "-o FOLDER"}
        if typed := [word for name, word in words.items() if re.search(f"(Pass|another) {name}", str(error))]:
            raise ValueError(f"{error} (in a terminal: {', '.join(typed)})") from error
        raise
    share = 1 - table.kept.sum() / table.weights.sum()
    print(f"{share:.1%} of the weights of {len(table)} layers removed; see {options.out}/README.md")
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        told = f"--text is a file in UTF-8; {path} is not ({error.reason} at byte {error.start})"
        raise ValueError(f"{told}. Save it as UTF-8, or name another file") from error
    except OSError as error:
        told = f"--text is a file that can be read; {path} cannot ({error.strerror})"
        raise ValueError(f"{told}. Check its name, or leave --text out") from error


def _list(notebooks: Sequence[str]) -> int:
    """Print what each notebook takes; 1 where one cannot be read."""
    from workbench.headless.notebook import find_notebooks, read_notebook
    from workbench.headless.parameters import read_parameters, table

    failed = 0
    for path in find_notebooks(list(notebooks)):
        try:
            print(f"{path}\n{table(list(read_parameters(read_notebook(path), path.name).values()))}\n")
        except ValueError as error:
            print(f"{error}\n")
            failed = 1
    return failed


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that run and site have in common."""
    names = [name for name, _ in options.parameter]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"give each parameter once; got {', '.join(twice)} more than once")
    given = {name: getattr(options, name) for name in ("notebooks", "out", "profile", "jobs")}
    return given | {"parameters": dict(options.parameter), "report": functools.partial(print, flush=True)}


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("pruning-workbench")
    except metadata.PackageNotFoundError:
        return "(run from its source, not installed)"


def _parser() -> argparse.ArgumentParser:
    what = "Run the workbench's notebooks and collect their results."
    parser = argparse.ArgumentParser(prog="workbench", description=what)
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run notebooks and write the results into a folder, with an index page")
    run.add_argument("--list", action="store_true", help="only print the parameters that the notebooks take")
    site = commands.add_parser(
        "site", help="make static pages and the reference; they open from disk, without a kernel or a network"
    )
    for command, function, out in ((run, _run, "out"), (site, _site, "site")):
        command.set_defaults(command=function)
        what = "notebooks, or folders of them (default: notebooks)"
        command.add_argument("notebooks", nargs="*", default=["notebooks"], help=what)
        command.add_argument("-o", "--out", default=out, help=f"folder of the results (default: {out})")
        what = "set a parameter; every notebook must have it, and its type is the notebook's"
        pairs: dict[str, Any] = dict(nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=what)
        command.add_argument("-p", "--parameter", type=lambda word: word.removeprefix(MARK), **pairs)
        command.add_argument("--profile", help="smoke, lecture or full: the parameter `profile`, unless -p gives it")
        what = (
            "how many notebooks run at a time; each uses one thread, unless OMP_NUM_THREADS says otherwise (default: 1)"
        )
        command.add_argument("--jobs", type=int, default=1, help=what)

    claims = commands.add_parser("claims", help="collect the verdicts of a results folder in one table")
    claims.set_defaults(command=_claims)
    claims.add_argument("out", help="folder that `workbench run` wrote")

    evidence = commands.add_parser("evidence", help="compute the recorded rows that are missing (hours)")
    evidence.set_defaults(command=_evidence)
    evidence.add_argument("names", nargs="*", help="experiments (default: all)")
    what = "folder of the rows (default: the shipped data/rows), or with --drift of drift.csv (default: out)"
    evidence.add_argument("-o", "--out", help=what)
    evidence.add_argument("--jobs", type=int, default=1, help="how many rows are computed at a time (default: 1)")
    what = "compute so many recorded rows again, drawn by --seed, and write how they differ"
    evidence.add_argument("--drift", type=int, metavar="N", help=what)
    evidence.add_argument("--seed", type=int, default=0, help="which rows --drift draws (default: 0)")
    what = "seconds that the drawn rows may have taken together when they were recorded (default: 600)"
    evidence.add_argument("--budget", type=float, default=600, help=what)

    sweep = commands.add_parser("sweep", help="run a function or a notebook at every point of a grid; rows on disk")
    sweep.set_defaults(command=_sweep)
    sweep.add_argument("spec", help="YAML file with run, grid, out")
    sweep.add_argument("-o", "--out", help="folder of the results (default: the file's, else out/ and its name)")
    sweep.add_argument("--jobs", type=int, help="processes (default: the file's, else one for each GPU or core)")
    where = sweep.add_mutually_exclusive_group()
    what = "compute on the workers of this Dask scheduler, such as tcp://host:8786"
    where.add_argument("--scheduler", metavar="ADDRESS", help=what)
    what = "compute in N jobs of Slurm; Dask's configuration says what a job is"
    where.add_argument("--slurm", type=int, metavar="N", help=what)
    what = "compute on N workers on Kubernetes; Dask's configuration says which"
    where.add_argument("--kubernetes", type=int, metavar="N", help=what)
    sweep.add_argument("--limit", type=float, help="seconds that a run may take")
    sweep.add_argument("--keep", action="store_true", help="do not try failed runs again")
    sweep.add_argument("--yes", action="store_true", help="do not ask, however many runs there are")

    report = commands.add_parser("report", help="write the page of a sweep's results, or export them")
    report.set_defaults(command=_report)
    report.add_argument("out", help="folder or .jsonl file that `workbench sweep` or wb.sweep wrote")
    report.add_argument("--page", help="file of the page (default: report.html in the folder)")
    what = "argument or metric along the picture (default: sparsity or compression, else the one with most values)"
    report.add_argument("--x", help=what)
    report.add_argument("--y", help="metric (default: an accuracy, else the first number)")
    report.add_argument("--by", help="arguments that make an arm, with commas (default: all others that vary)")
    what = "write all rows to FILE.csv, FILE.parquet or mlflow:FOLDER instead of a page; may be given several times"
    report.add_argument("--export", action="append", default=[], metavar="TARGET", help=what)

    prune = commands.add_parser(
        "prune-llm", help="prune a language model's folder into another one, a block in memory at a time"
    )
    prune.set_defaults(command=_prune_llm)
    prune.add_argument("model", help="a decoder's folder with safetensors, or its id on the hub")
    prune.add_argument("-o", "--out", required=True, help="folder of the result; the same command goes on with it")
    prune.add_argument("--method", default="wanda", help="one of wb.one_shot_methods() (default: wanda)")
    prune.add_argument("--sparsity", type=float, default=0.5, help="share of each layer that goes (default: 0.5)")
    prune.add_argument("--granularity", default="weight", help="weight, or n:m such as 2:4 (default: weight)")
    what = "a layer that stays whole, * for any part of its name; may be given several times"
    prune.add_argument("--exclude", action="append", default=[], metavar="NAME", help=what)
    prune.add_argument("--text", help="calibration text, a file in UTF-8 (default: Python's language reference)")
    prune.add_argument("--samples", type=int, default=128, help="calibration samples (default: 128)")
    prune.add_argument("--context", type=int, help="tokens of a sample (default: what the model reads, at most 2048)")
    prune.add_argument("--seed", type=int, default=0, help="where in the text the samples begin (default: 0)")
    prune.add_argument("--rows", type=int, default=8, help="samples that pass a block at a time (default: 8)")
    prune.add_argument("--device", help="cpu or cuda (default: cuda, where there is one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
