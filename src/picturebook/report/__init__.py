"""The report of a run or a study: plain numbers in, one self-contained HTML file out."""

from picturebook.report.content import Arm, Attention, Curve, Report
from picturebook.report.page import write_report
from picturebook.report.study_page import render_study

__all__ = ["Arm", "Attention", "Curve", "Report", "render_study", "write_report"]
