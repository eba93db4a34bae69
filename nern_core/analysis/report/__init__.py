"""The report of an encoding: sizes, errors, accuracy and seconds, all measured on the finished file."""

from nern_core.analysis.report.measure import make_report
from nern_core.analysis.report.model import AlternativeReport, CurvePoint, LayerReport, Report, SizeTrial

__all__ = ["AlternativeReport", "CurvePoint", "LayerReport", "Report", "SizeTrial", "make_report"]
