"""A model whose parameters accelerate shards among the processes (FSDP2), block by block."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from torch import nn

from ..model import Model
from .recipe import Recipe
from .state import whole
from .tasks import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


def is_sharded(accelerator: Accelerator, recipe: Recipe) -> bool:
    """Whether accelerate was asked to shard, and does.

    Raises:
        ValueError: it was asked for what cannot be done.
    """
    from accelerate import DistributedType

    if accelerator.distributed_type != DistributedType.FSDP:
        asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if asked and accelerator.num_processes > 1 and accelerator.is_main_process:
            warnings.warn("accelerate shards among GPUs only: each process has the whole model", stacklevel=2)
        return False
    if accelerator.state.fsdp_plugin.fsdp_version != 2:
        raise ValueError("a model is sharded by the second version of FSDP: accelerate launch --fsdp_version 2")
    if recipe.objective == "distillation":
        raise ValueError("distillation cannot be sharded: it calls parts of the student apart from the whole")
    if recipe.lora is not None:
        raise ValueError("lora must be None where the model is sharded: adaptors are merged into whole weights")
    return True


def shard_by_block(accelerator: Accelerator, task: Task) -> None:
    """Have ``accelerator.prepare`` shard each block of a task on its own."""
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    blocks = [block for _, block in task.model.blocks()] if isinstance(task.model, Model) else []
    # A model that is called by itself, as in evaluation, gathers what belongs to no block of it.
    parts = [*blocks, task.model] if task.labelled else blocks
    plugin: Any = accelerator.state.fsdp_plugin
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.transformer_cls_names_to_wrap = sorted({type(part).__name__ for part in parts})
    plugin.cpu_ram_efficient_loading = False  # every process has the weights


def gather(sharded: nn.Module, copy: nn.Module) -> nn.Module:
    """The weights of a sharded model in a whole one like it, which comes back. Every process has to call."""
    copy.load_state_dict({name: whole(value).cpu() for name, value in sharded.state_dict().items()})
    return copy
