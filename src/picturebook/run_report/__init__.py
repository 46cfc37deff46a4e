"""A page about one run: its files, its pictures where they are still there, and what they show together."""

from picturebook.run_report.collecting import write_run_report

__all__ = ["write_run_report"]
