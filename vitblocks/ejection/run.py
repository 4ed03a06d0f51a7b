"""Write a model out as one flat Python file that needs torch alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import __version__
from ..depthwise import DepthwiseConv2d
from ..faster import with_torch_types
from ..linear import Linear
from .classes import Classes, names_of
from .code import Code
from .constructors import Constructors
from .expression import Call, Expr, Ref, replaced
from .fold import simplified
from .reach import Reach
from .read import Reader, check_tree, name_of_class, survey
from .source import Definition, Import, is_project
from .verify import check
from .write import Writer, docstring, import_lines, ordered


def eject(model: nn.Module, *, sample: Tensor | None = None) -> str:
    """The model as the text of one Python file that needs torch alone, to be read and changed.

    The file has a function ``build_model()``. What it returns has the model's state_dict keys, shapes and dtypes, and after
    ``load_state_dict(model.state_dict())`` the model's outputs to the bit, but for :class:`~vitblocks.Linear` and
    :class:`~vitblocks.depthwise.DepthwiseConv2d`, which become ``nn.Linear`` and ``nn.Conv2d``: where those take faster ways on a CPU,
    outputs agree to rounding. Each class in the file holds the code that ``forward`` runs, and
    a constructor with what all its instances in this model have in common; what differs between them is its arguments.

    The text is run and compared before it is returned: the state always; the outputs in evaluation on ``sample``, or on a random
    image of the model's ``image_size``, or of a usual size if it has none. A model that takes no such image needs ``sample`` for that.

    Args:
        model: built of this package's parts, modules of torch, and modules of your own whose source files use torch and the standard
            library alone.
        sample: what ``model`` takes, on its device.

    Raises:
        TypeError: a part is of another package, has no source, is compiled, parametrized or changed by hand, or holds what has no
            text (a lambda, a tensor that is neither parameter nor buffer). The message names the module.
        ValueError: a part has hooks or is shared with another, parameters have several dtypes, or the file would not do the same.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    check_tree(model)
    # Which of several ways is the fastest one is no part of the architecture.
    model = with_torch_types(model, Linear, DepthwiseConv2d)
    dtype = _dtype(model)
    reach, reader, expression = _read(model)
    kinds = dict.fromkeys(type(module) for module in model.modules() if is_project(type(module)))
    objects = [
        definition.value for definition in reach.kept if definition in reach.pinned or _is_object(definition.value)
    ]
    classes = Classes(reach, kinds, objects, set(reader.added))
    constructors = Constructors(_rehomed(expression, classes), classes.definition)
    text = _text(model, reach, reader, classes, constructors, dtype)
    check(text, model, sample)
    return text


def _read(model: nn.Module) -> tuple[Reach, Reader, Expr]:
    """What is needed of the code and the model as an expression, once all is taken out that the model does not use."""
    code = Code()
    while True:
        reach = Reach(code)
        survey(model, reach)
        reader = Reader(reach)
        expression = reader.module(model)
        smaller = simplified(reach, expression)
        if smaller.changed == code.changed:
            return reach, reader, expression
        code = smaller


def _dtype(model: nn.Module) -> torch.dtype:
    """The one dtype of all floating tensors of the state."""
    dtypes = {
        tensor.dtype
        for tensor in model.state_dict().values()
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    }
    if len(dtypes) > 1:
        raise ValueError(f"model must have one floating dtype, it has {sorted(map(str, dtypes))}")
    return next(iter(dtypes), torch.float32)


def _is_object(kind: type) -> bool:
    return not issubclass(kind, nn.Module)


def _rehomed(expression: Expr, classes: Classes) -> Expr:
    """With classes that build on torch's, and have no code of their own, replaced by those."""

    def change(part: Expr) -> Expr:
        if not (isinstance(part, Call) and isinstance(part.callee, Ref)):
            return part
        home = classes.home.get(part.callee.to.value)
        if home is None:
            return part
        return Call(Ref(home) if isinstance(home, Definition) else name_of_class(home), part.arguments)

    return replaced(expression, change, deep=True)


def _text(
    model: nn.Module, reach: Reach, reader: Reader, classes: Classes, constructors: Constructors, dtype: torch.dtype
) -> str:
    own = [*constructors.found, *(Ref(definition) for definition in classes.written)]
    bound = {
        symbol.alias or symbol.name or symbol.module.partition(".")[0]
        for symbol in reach.symbols.values()
        if isinstance(symbol, Import)
    }
    taken = {"nn", "torch", "F", "partial", "OrderedDict", "build_model", *bound}
    names = names_of(classes, dict.fromkeys(own), [*reach.functions, *sorted(reach.constants, key=str)], taken)
    writer = Writer(reach, classes, names, constructors.found, reader.added)
    writer.imports |= {Import("__future__", "annotations", ""), Import("torch", "nn", "")}
    root = [part for part in (constructors.model, getattr(constructors.model, "callee", None)) if isinstance(part, Ref)]
    definitions = [writer.definition(ref) for ref in ordered(writer, [*root, *writer.refs_in(constructors.model)])]
    definitions.append(_build(model, writer, constructors.model, dtype))
    if "torch." in "\n".join(definitions):
        writer.imports.add(Import("torch", "", ""))
    gap = "\n\n" if definitions[0].startswith(("class ", "def ", "@")) else "\n"
    return "\n".join([_header(model), "", import_lines(writer.imports) + gap, "\n\n\n".join(definitions), ""])


def _header(model: nn.Module) -> str:
    size = getattr(model, "image_size", None)
    made = f" Made for images of {size[0]} x {size[1]}." if isinstance(size, tuple) and len(size) == 2 else ""
    first = docstring(f"{type(model).__name__}, written out by vitblocks {__version__}. It needs torch alone.{made}", 0)
    return f'''{first.removesuffix('"""')}

    model = build_model()
    model.load_state_dict(torch.load("weights.pt"))

The state_dict is that of the model this was written from. Until it is loaded, weights and buffers are arbitrary.
"""'''


def _build(model: nn.Module, writer: Writer, expression: Expr, dtype: torch.dtype) -> str:
    """The function that makes the model."""
    lines = ["def build_model() -> nn.Module:", '    """The model in training mode, its weights not yet loaded."""']
    frozen = _frozen(model)
    if not frozen and dtype == torch.float32:
        return "\n".join([*lines, "    " + writer.expression(expression, 4, "return ")])
    lines.append("    " + writer.expression(expression, 4, "model = "))
    for kind, paths in (("submodule", frozen.get("module", [])), ("parameter", frozen.get("parameter", []))):
        if paths == [""]:
            lines.append("    model.requires_grad_(False)")
        elif paths:
            listed = "".join(f'        "{path}",\n' for path in paths)
            lines.append(f"    for name in (\n{listed}    ):\n        model.get_{kind}(name).requires_grad_(False)")
    lines.append("    return model" if dtype == torch.float32 else f"    return model.to({dtype})")
    return "\n".join(lines)


def _frozen(model: nn.Module, path: str = "") -> dict[str, list[str]]:
    """The names of the modules and single parameters that are not trained."""
    trained = [p.requires_grad for p in model.parameters()]
    if all(trained):
        return {}
    if not any(trained):
        return {"module": [path]}
    found: dict[str, list[str]] = {}
    dot = f"{path}." if path else ""
    for name, parameter in model._parameters.items():
        if parameter is not None and not parameter.requires_grad:
            found.setdefault("parameter", []).append(dot + name)
    for name, child in model.named_children():
        for kind, names in _frozen(child, dot + name).items():
            found.setdefault(kind, []).extend(names)
    return found
