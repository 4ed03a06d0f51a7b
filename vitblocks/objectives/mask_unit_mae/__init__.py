"""MAE of models with mask units: Hiera (arXiv:2306.00989, Section 3 and Appendix A)."""

from .objective import MaskUnitMAE

__all__ = ["MaskUnitMAE"]
