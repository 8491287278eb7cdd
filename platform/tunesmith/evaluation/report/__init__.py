"""The report of an evaluation: a page for people, CSV for programs. Needs no library besides our own."""

from tunesmith.evaluation.report.page import html
from tunesmith.evaluation.report.tables import answers_csv, candidates_csv

__all__ = ["answers_csv", "candidates_csv", "html"]
