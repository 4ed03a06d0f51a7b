"""Looking inside a model."""

from .summary import LayerSummary, Summary, summary

__all__ = ["LayerSummary", "Summary", "summary"]
