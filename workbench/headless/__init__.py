"""Notebooks without a front end: run them with checked parameters, make pages of them, collect their claims.

run_with_index(["notebooks"], "out", profile="smoke", jobs=2)   # as `workbench run` does
site(["notebooks"], "site")                                     # as `workbench site` does
write_claims("out")                                             # as `workbench claims` does
sweep_notebook("notebooks/01-background.ipynb", "out", {"seed": [0, 1]})   # as `workbench sweep` does
"""

from workbench.extras import check_lab
from workbench.headless.claims_table import collect_claims, write_claims
from workbench.headless.index import run_with_index, site
from workbench.headless.notebook import hidden_errors, numbers, read_notebook
from workbench.headless.notebook_sweep import NotebookRun, sweep_notebook
from workbench.headless.parameters import Parameter, check_values, read_parameters
from workbench.headless.record import Run
from workbench.headless.runner import run

__all__ = ["NotebookRun", "Parameter", "Run", "check_values", "collect_claims", "hidden_errors", "numbers"]
__all__ += ["read_notebook", "read_parameters", "run", "run_with_index", "site", "sweep_notebook", "write_claims"]

check_lab(
    "ipykernel",
    "jupyter_client",
    "latex2mathml",
    "nbclient",
    "nbconvert",
    "nbformat",
    "papermill",
    "pdoc",
    "pygments",
    "traitlets",
)
