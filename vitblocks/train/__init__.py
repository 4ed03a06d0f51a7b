"""What training needs to know of a model."""

from .groups import parameter_groups

__all__ = ["parameter_groups"]
