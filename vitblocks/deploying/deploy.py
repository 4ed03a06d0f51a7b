"""Hand a model to a runtime: folded, exported, compiled, and compared with the model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from ..checks import check_not_negative, check_some
from ..extras import missing
from ..folding import FoldReport, fold
from ..folding.report import relative_error
from ..model import Stage
from .deployed import DTYPES, Deployed
from .exporting import check_exported, check_images
from .measuring import process_milliseconds
from .outputs import EXTRA, OUTPUT, WithOutputs
from .report import DeployReport
from .runtime import RUNTIMES
from .settings import Settings, check_threads

RuntimeName: TypeAlias = Literal["openvino", "onnxruntime", "aot_inductor", "compile", "best"]
Extra: TypeAlias = Literal["attention", "features"]

BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 0.1}
INT8_BOUND = 0.3
"""The largest error of an output over its largest magnitude. Rounding takes about a hundredth of the first, a fifth of the others."""


def deploy(
    model: nn.Module,
    sample: Tensor,
    runtime: RuntimeName | Sequence[RuntimeName] = "best",
    *,
    dtype: torch.dtype = torch.float32,
    int8: Tensor | None = None,
    outputs: Collection[Extra] = (),
    bound: float | None = None,
    threads: int | None = None,
) -> Deployed:
    """The model in the runtime that is asked for, on the CPU: ``fast = deploy(model, images); logits = fast(images)``.

    The model is folded (:func:`vitblocks.fold`), exported, compiled, and what it then gives is compared with what it gave, on the sample
    and on a batch of another size. The model itself stays as it is.

    Args:
        model: ``image (B, C, H, W) -> output``, one tensor; any module that folds and exports.
        sample: images of the size that the deployed model is for, as many as it mostly gets: batches of every other size are taken, too.
        runtime: its name. ``"best"`` measures all that are installed, several names measure these: in turn, by the time of the process,
            on the sample. Compiling PyTorch's own two takes minutes.
        dtype: what is computed in, float32 or bfloat16. Images and outputs are float32.
        int8: images ``(N, C, H, W)`` as the model will get them, some dozens to hundreds: linears and convolutions then compute with
            whole numbers, whose scales are taken from what these images make of the activations.
        outputs: ``"attention"`` and ``"features"``, for :meth:`Deployed.outputs`.
        bound: the largest error over the largest magnitude that is taken; if None 1e-4 in float32, 0.1 in bfloat16 and 0.3 in int8.
        threads: of the CPU; as many as PyTorch has if None.

    Returns:
        A :class:`Deployed`, with a :class:`DeployReport`.

    Raises:
        TypeError: ``model`` is no module, or gives something else than a tensor; ``sample`` or ``int8`` are no tensors of floats.
        ValueError: an argument is not as said above, or a runtime does not compute in this dtype.
        ModuleNotFoundError: a runtime that was named is not installed; the message says which extra it comes with.
        RuntimeError: the outputs are off by more than the bound, or of several runtimes none will do.
    """
    _check(model, sample, dtype, int8, outputs, bound, threads)
    names = _names(runtime)
    plain = deepcopy(model).eval().float()
    sample = sample.detach().float().contiguous()
    folded, folds = fold(plain, sample, outputs="all" if outputs else "logits")
    settings = Settings(
        (len(sample), sample.shape[1], sample.shape[2], sample.shape[3]),
        (OUTPUT,),
        dtype,
        torch.get_num_threads() if threads is None else threads,
        int8 is not None,
        None if int8 is None else int8.detach().float().contiguous(),
    )
    if "features" in outputs and not any(isinstance(module, Stage) for module in plain.modules()):
        raise ValueError(f"outputs cannot have 'features', those of stages: {type(model).__name__} has no Stage")
    if outputs:
        plain, folded = WithOutputs(plain, outputs).eval(), WithOutputs(folded, outputs).eval()
        with torch.no_grad():
            settings = replace(settings, names=tuple(plain.named(sample)))
    limit = (BOUNDS[dtype] if int8 is None else max(INT8_BOUND, BOUNDS[dtype])) if bound is None else bound
    job = _Job(plain, folded, folds, sample, settings, limit)
    return job.build(names[0]) if isinstance(runtime, str) and runtime != "best" else _best(job, names)


class _Job:
    """One model to be built for several runtimes."""

    def __init__(
        self, plain: nn.Module, folded: nn.Module, folds: FoldReport, sample: Tensor, settings: Settings, bound: float
    ) -> None:
        self.folded, self.folds, self.sample, self.settings, self.bound = folded, folds, sample, settings, bound
        # A batch of another size, too: an exporter may have kept the one of the sample.
        self.batches = [sample, torch.cat([sample, sample[:1].flip(3)])]
        with torch.no_grad():
            self.right = [_tensors(plain(sample)), _tensors(_of_another_size(plain, self.batches[1]))]

    def build(self, name: str) -> Deployed:
        runtime, settings = RUNTIMES[name], self.settings
        if settings.dtype not in runtime.DTYPES:
            known = " or ".join(str(dtype) for dtype in runtime.DTYPES)
            raise ValueError(f"dtype must be {known} for {name}, got {settings.dtype}")
        if why := missing(*runtime.PACKAGES, *(runtime.QUANTIZERS if settings.int8 else ())):
            raise ModuleNotFoundError(f"{name}{' in int8' if settings.int8 else ''} {why}")
        folder = TemporaryDirectory(prefix="vitblocks-", ignore_cleanup_errors=True)
        runtime.write(self.folded, self.sample, Path(folder.name), settings)
        dtype = next(word for word, dtype in DTYPES.items() if dtype == settings.dtype)
        report = DeployReport(name, dtype, settings.int8, 0.0, self.bound, self.folds.counts)
        deployed = Deployed(Path(folder.name), replace(settings, calibration=None), report, folder)
        deployed.report = replace(report, error=self._error(deployed, name))
        return deployed

    def _error(self, deployed: Deployed, name: str) -> float:
        """How far the outputs are off.

        Raises:
            RuntimeError: by more than the bound.
        """
        worst = 0.0
        for batch, right in zip(self.batches, self.right, strict=True):
            found = deployed.outputs(batch)
            tensors = [found.output, *found.attention.values(), *found.features.values()]
            for output, wanted, which in zip(tensors, right, self.settings.names, strict=True):
                error = relative_error(output, wanted)
                if not error <= self.bound:
                    raise RuntimeError(
                        f"{name} gives another {which} than the model: off by {error:.1e} of the largest, of at most {self.bound:.1e}, "
                        f"with a batch of {len(batch)}"
                    )
                worst = max(worst, error)
        return worst


def _best(job: _Job, names: Sequence[str]) -> Deployed:
    """The fastest of those that can be had."""
    built: dict[str, Deployed] = {}
    passed_over: dict[str, str] = {}
    for name in names:
        try:
            built[name] = job.build(name)
        except Exception as error:  # whatever one runtime cannot do, another may; the report says it
            passed_over[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if not built:
        raise RuntimeError("no runtime will do: " + "; ".join(f"{name}: {why}" for name, why in passed_over.items()))
    times = process_milliseconds({name: lambda d=d: d(job.sample) for name, d in built.items()})  # type: ignore[misc]
    best = built[min(times, key=times.__getitem__)]
    best.report = replace(best.report, milliseconds=times, passed_over=passed_over)
    return best


def _names(runtime: object) -> list[str]:
    if runtime == "best":
        return list(RUNTIMES)
    names = [runtime] if isinstance(runtime, str) else list(runtime) if isinstance(runtime, Collection) else []
    if not names or any(name not in list(RUNTIMES) for name in names):
        raise ValueError(f"runtime must be 'best', or one or several of {list(RUNTIMES)}, got {runtime!r}")
    return names


def _of_another_size(model: nn.Module, batch: Tensor) -> object:
    try:
        return model(batch)
    except Exception as error:  # whatever a module of anybody's raises
        raise ValueError(
            f"model must take batches of every size, of {len(batch)} images it says {type(error).__name__}: {error}"
        ) from error


def _tensors(output: object) -> list[Tensor]:
    given = output if isinstance(output, tuple) else (output,)
    tensors = [tensor for tensor in given if isinstance(tensor, Tensor)]
    if len(tensors) < len(given):
        raise TypeError(f"model must give one tensor, got {type(output).__name__}")
    return tensors


def _check(
    model: object,
    sample: object,
    dtype: object,
    int8: object,
    outputs: object,
    bound: object,
    threads: int | None,
) -> None:
    check_exported(model, sample)
    if int8 is not None:
        check_images("int8", int8)
    _check_places(model, sample=sample, int8=int8)
    if isinstance(int8, Tensor) and isinstance(sample, Tensor) and int8.shape[1:] != sample.shape[1:]:
        raise ValueError(f"int8 must be images of the sample's size {tuple(sample.shape[1:])}, got {tuple(int8.shape)}")
    if dtype not in list(BOUNDS):
        raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
    check_some("outputs", outputs, EXTRA)
    if bound is not None:
        check_not_negative("bound", bound)
    check_threads(threads)


def _check_places(model: object, **images: object) -> None:
    """Raise ValueError for what does not lie on the CPU, where runtimes run."""
    tensors = {**images, **(model.state_dict(prefix="model.") if isinstance(model, nn.Module) else {})}
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.device.type != "cpu":
            raise ValueError(f"{name.partition('.')[0]} must lie on the CPU, got {name} on {tensor.device}")
