"""What a sweep found, for readers: a page, a picture of now, files for other programs."""

from workbench.reports.columns import roles
from workbench.reports.files import export
from workbench.reports.page import write_report
from workbench.reports.reading import found
from workbench.reports.running import changes, sweep_so_far

__all__ = ["changes", "export", "found", "roles", "sweep_so_far", "write_report"]
