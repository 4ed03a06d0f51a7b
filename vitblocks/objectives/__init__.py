"""Objectives: what a model is trained for beside its labels."""

from .dino import Dino
from .dino_head import DinoHead
from .dino_loss import Centering, DinoSchedule, cross_view_entropy
from .distillation import DistillWrapper, hard_distillation, soft_distillation
from .encoder import Encoder, PairError
from .mae import MAE
from .mask_unit_mae import MaskUnitMAE
from .masking import Details, Pictures
from .mpp import MPP, Corruption
from .simmim import SimMIM

__all__ = [
    "MAE",
    "MPP",
    "Centering",
    "Corruption",
    "Details",
    "Dino",
    "DinoHead",
    "DinoSchedule",
    "DistillWrapper",
    "Encoder",
    "MaskUnitMAE",
    "PairError",
    "Pictures",
    "SimMIM",
    "cross_view_entropy",
    "hard_distillation",
    "soft_distillation",
]
