"""One self-contained HTML page per run, and one table over many runs."""

from bitspike.report.page import write_report
from bitspike.report.results_table import results_table

__all__ = ["results_table", "write_report"]
