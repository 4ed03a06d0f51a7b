"""Other libraries' weights into our models and back, and our own weights on disk.

``load(model, state_dict, layout="timm")`` puts a checkpoint into a model, ``export(model, layout="timm")`` gives it back under the
same keys. A layout is named after whose keys it reads: ``timm``, ``official`` (the authors' own code), ``hf``, ``vit_pytorch``;
:func:`layouts` lists those of a model. ``save`` and ``load_file`` keep our own weights in a safetensors file.

Adding an architecture
----------------------
Key maps hang on the class of the model, wherever that is: its attribute ``layouts`` maps names of layouts to key maps. A subclass uses its
parent's unless it has its own. In the zoo they lie beside the model, ``vitblocks/zoo/cait/layouts.py``. ::

    class Mine(vitblocks.Model):
        layouts = {"official": OFFICIAL}

A key map is a sequence of :class:`Rule` and :class:`Computed`, or a function ``model -> sequence`` where sizes matter. ::

    OFFICIAL = (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("layers.{s}.blocks.{b}.{p}", "stages.{s}.blocks.{b}.{p}"),
        Rule(("fuse.{s}.wk.{p}", "fuse.{s}.wv.{p}"), "fuse.{s}.kv.{p}", Concat(2)),
        Computed("layers.{s}.index", at="stages.{s}.bias.table", function=relative_index),
    )

- ``Rule(theirs, ours, transform)`` says that these keys of theirs are those keys of ours. A key of ours belongs to the first rule
  whose template fits it, so exceptions come before the rule. Rules that fit nothing in a model do nothing.
- In a template of ours ``{p}`` fits any rest (``weight``, ``attn.qkv.bias``), ``{w}`` one word without a dot, every other name a number.
  Theirs is filled with what ours fitted and may do sums: ``{b+1}``, ``{2*n+s}``. ``{n}`` is how many blocks of all stages come before.
- Our keys are written as *addresses* (:func:`addresses`), which do not depend on where in a list a layer stands: in a stage, a layer
  that holds an Attend is ``blocks.{b}``, counting these alone; another is its class name, ``stages.0.class_token.token``,
  ``stages.1.peg.conv.weight``, with ``_1``, ``_2`` where the class comes again. Inside a layer, and everywhere outside of stages, an
  address is the plain ``state_dict`` key. ``print(*addresses(model), sep="\\n")`` shows them.
- ``Rule(..., also=...)`` names what theirs are called elsewhere. Both are read, and the first are written; ``other_names(key_map)`` writes
  the others. Hugging Face's files have names that their modules had before transformers 5.
- ``within(theirs, ours, rules)`` puts a table for one block under a prefix on both sides.
- Transforms (:mod:`~vitblocks.checkpoint.transforms`) have a forward (theirs to ours) and an inverse: ``Concat``, ``Unsqueeze``,
  ``Permute``, ``Reshape``, ``Reorder``, ``PatchPixels``, ``Tied``, ``Compose``, ``Inverted``, and ``Functions`` for anything else; an
  ``OnGrid`` for a table of positions that lies otherwise in theirs, so that it can be resized, such as ``TableFromMap``.
- ``Computed`` declares a key of theirs that we do not hold, because it can be computed: ignored on load, computed on export.
"""

from .adapting import Adapt, resample_patches
from .address import addresses
from .convert import compare, convert, export, layouts, load
from .pretrained import from_pretrained, push_to_hub, save_pretrained
from .reading import read_checkpoint
from .report import Misshaped, Missing, Report
from .resizing import grids_of
from .rules import Computed, KeyMap, Rule, other_names, within
from .storage import load_file, save
from .transforms import (
    Compose,
    Concat,
    Functions,
    Inverted,
    OnGrid,
    PatchPixels,
    Permute,
    Reorder,
    Reshape,
    Same,
    TableFromMap,
    Tied,
    Transform,
    Unsqueeze,
    heads_from_fastest,
    heads_from_interleaved,
)

__all__ = [
    "Adapt",
    "Compose",
    "Computed",
    "Concat",
    "Functions",
    "Inverted",
    "KeyMap",
    "Misshaped",
    "Missing",
    "OnGrid",
    "PatchPixels",
    "Permute",
    "Reorder",
    "Report",
    "Reshape",
    "Rule",
    "Same",
    "TableFromMap",
    "Tied",
    "Transform",
    "Unsqueeze",
    "addresses",
    "compare",
    "convert",
    "export",
    "from_pretrained",
    "grids_of",
    "heads_from_fastest",
    "heads_from_interleaved",
    "layouts",
    "load",
    "load_file",
    "other_names",
    "push_to_hub",
    "read_checkpoint",
    "resample_patches",
    "save",
    "save_pretrained",
    "within",
]
