"""Twins: Revisiting the Design of Spatial Attention in Vision Transformers (arXiv:2104.13840): Twins-SVT and Twins-PCPVT."""

from .model import VARIANTS, TwinsPCPVT, TwinsSVT

__all__ = ["VARIANTS", "TwinsPCPVT", "TwinsSVT"]
