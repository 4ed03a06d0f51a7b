"""Static int8 by nncf, of OpenVINO's graphs and of ONNX."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..extras import needed
from .exporting import quiet


def quantized(graph: Any, images: Tensor, feed: str | None, runtime: str) -> Any:
    """The graph in int8, its scales from what the images make of the activations.

    Without smooth quantization, which moves scale from activations into weights: of a small Swin trained on digits it left 31% right of
    74%, and without it 73.6% were (``benchmarks.deploy_accuracy``).

    Args:
        graph: OpenVINO's or ONNX's model.
        images: ``(N, C, H, W)``.
        feed: the name of the input, where the runtime goes by names.
        runtime: for the error where nncf is missing.
    """
    nncf = needed("nncf", f"int8 in {runtime}")
    nncf.set_log_level("ERROR")
    arrays = [image[None].numpy() for image in images]
    off = nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    with quiet():  # it draws progress bars
        return nncf.quantize(
            graph,
            nncf.Dataset(arrays if feed is None else [{feed: array} for array in arrays]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(arrays),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=off),
        )
