"""The report of an encoding: sizes, errors, accuracy and seconds, all measured on the finished file."""

from nern_core.analysis.report.measure import make_report

__all__ = ["make_report"]
