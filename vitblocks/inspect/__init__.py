"""Looking inside a model."""

from .attention_record import AttentionRecord, AttentionRecords
from .attribution import attention_rollout, class_attention_map, gradient_rollout
from .capture import capture
from .extract import TokenRecord, extract
from .extractor import Extractor
from .intervene import Interventions, Sites, intervene
from .lens import logit_lens
from .outliers import LayerNorms, NormReport, token_norms
from .places import Call, Places, places
from .record import record_attention
from .recorder import Recorder
from .similarity import Similarity, cka
from .sites import sites
from .summary import LayerSummary, Summary, summary

__all__ = [
    "AttentionRecord",
    "AttentionRecords",
    "Call",
    "Extractor",
    "Interventions",
    "LayerNorms",
    "LayerSummary",
    "NormReport",
    "Places",
    "Recorder",
    "Similarity",
    "Sites",
    "Summary",
    "TokenRecord",
    "attention_rollout",
    "capture",
    "cka",
    "class_attention_map",
    "extract",
    "gradient_rollout",
    "intervene",
    "logit_lens",
    "places",
    "record_attention",
    "sites",
    "summary",
    "token_norms",
]
