"""What a sweep found, for readers: a page, a picture of now, files for other programs."""

from workbench.reports.export import export
from workbench.reports.found import Found, found
from workbench.reports.page import write_report
from workbench.reports.roles import Roles, roles
from workbench.reports.so_far import changes, so_far

__all__ = ["Found", "Roles", "changes", "export", "found", "roles", "so_far", "write_report"]
