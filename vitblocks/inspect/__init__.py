"""Looking inside a model."""

from .attention_record import AttentionRecord, AttentionRecords
from .attribution import attention_rollout, class_attention_map, gradient_rollout
from .capture import capture
from .extract import TokenRecord, extract
from .extractor import Extractor
from .places import Call, Places, places
from .record import record_attention
from .recorder import Recorder
from .summary import LayerSummary, Summary, summary

__all__ = [
    "AttentionRecord",
    "AttentionRecords",
    "Call",
    "Extractor",
    "LayerSummary",
    "Places",
    "Recorder",
    "Summary",
    "TokenRecord",
    "attention_rollout",
    "capture",
    "class_attention_map",
    "extract",
    "gradient_rollout",
    "places",
    "record_attention",
    "summary",
]
