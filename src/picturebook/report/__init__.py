"""The report of a run or a study: plain numbers in, one self-contained HTML file out."""

from picturebook.report.content import Arm, Attention, Curve, Report
from picturebook.report.page import write_report

__all__ = ["Arm", "Attention", "Curve", "Report", "write_report"]
