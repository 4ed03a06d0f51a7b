"""Act inside of a model: read and change what its parts pass on, for as long as a ``with`` block lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import TypedDict, Unpack

from ..attention import Attend
from ..fast.private import backward_pass
from .edits import Ablation, Change, ablated, apply, patched, replaced, scaled
from .frames import Frame, follow, in_this_thread, named_parts, uncompiled
from .places import TokenChoice
from .reaching import AttendCall, visit_tokens
from .sites import OF_PAIRS, Site, select_sites, sites
from .view import Numbers, View, Where


class Part(TypedDict, total=False):
    """Keywords that say which part of a site is meant, all of it without; see :class:`~vitblocks.inspect.view.Where`."""

    heads: Numbers | None
    tokens: TokenChoice | None
    keys: TokenChoice | None
    images: Numbers | None
    channels: Numbers | None


@contextmanager
def intervene(model: nn.Module) -> Iterator[Interventions]:
    """Within ``with intervene(model) as at``, sites of the model are read and changed in every forward that this thread makes.

    ``at[name]`` is a site, or several by a pattern whose ``*`` stands for one part of a name; ``at.names`` lists them all. Blocks are
    counted through the whole model: ``blocks.3.attn.q``. A site's value is that of

    - ``q``, ``k``, ``v``, ``heads``: ``(B, groups, heads, n, d)``, one group for global kinds, one for each window or sub-grid for others;
      what the Attend is given (after rotary positions and convolutions), and what each head gives before the projection;
    - ``logits``, ``weights``: ``(B, groups, heads, n, m)``. What ``logits`` means is the Attend's own affair: before the heads are mixed
      with talking heads, with its bias for the plain one; kernel features have none;
    - ``out`` (of an attention), ``hidden`` (of a feed-forward), ``residual`` (what a block passes on): ``(B, N, C)``.

    What is done to a site is done in the order in which it was asked for, and a site that is called several times has it done each time.
    Where nothing is changed, also by a value that equals what was there, the output stays the same to the bit. Gradients flow through
    what is read and what is put in place. What was compiled runs uncompiled within the block. Adaptive sampling chooses its tokens by the
    weights that there were before.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: in the model's forward: a site lacks the heads or tokens asked for, or what is put there does not fit.
        RuntimeError: the block ended and something that was asked for had never happened.
    """
    parts = named_parts(model)
    with uncompiled(), follow(parts.values()) as stack:
        at = Interventions(model, parts, stack)
        try:
            yield at
        finally:
            at.remove_hooks()
    at.check_done()


@dataclass
class _Step:
    """One thing done at a site; ``done`` once it was."""

    site: str
    act: Callable[[View, int], Tensor]
    done: bool = False


@dataclass
class _Sited:
    """A site and what is done there; ``calls`` counts the calls of it."""

    site: Site
    steps: list[_Step] = field(default_factory=list)
    calls: int = 0

    def visit(self, view: View) -> Tensor:
        value = view.value
        for step in self.steps:
            value = step.act(View(view.site, view.word, value, view.rows, view.columns), self.calls)
        self.calls += 1
        return value


class Interventions:
    """What a ``with intervene(model)`` block does; ``at[name]`` is the site, or the sites, of a name.

    Attributes:
        names: of all sites.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, nn.Module], stack: Sequence[Frame]) -> None:
        self.model, self.parts, self.stack = model, parts, stack
        self.names = sites(model)
        self.within = backward_pass()
        self._sited: dict[str, dict[str, _Sited]] = {}
        self._handles: list[RemovableHandle] = []
        self._inputs: dict[str, list[AttendCall]] = {}

    def __getitem__(self, pattern: str) -> Sites:
        return Sites(self, select_sites(self.model, pattern))

    def clear(self) -> None:
        """Leave the model as it is again; what was read stays. Raises RuntimeError for what was asked for and never happened."""
        self.check_done()
        self.reset()

    def reset(self) -> None:
        """Forget all that was asked for, whether it happened or not."""
        self.remove_hooks()
        self._sited.clear()

    def remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def check_done(self) -> None:
        """Raise RuntimeError for what was asked for and never happened."""
        for at in self._sited.values():
            for sited in at.values():
                for step in sited.steps:
                    if not step.done:
                        raise RuntimeError(
                            f"nothing was done at {step.site}: it was not called by this thread within the block, or had "
                            "nothing of what was asked for"
                        )

    def add(self, name: str, site: Site, act: Callable[[View, int], tuple[Tensor, bool]]) -> None:
        """Do something at a site from now on."""
        at = self._sited.setdefault(site.at, {})
        if not at:
            self._hook(site, at)
        step = _Step(name, lambda view, call: view.value)

        def once(view: View, call: int) -> Tensor:
            value, done = act(view, call)
            step.done |= done
            return value

        step.act = once
        at.setdefault(site.word, _Sited(site)).steps.append(step)

    def _hook(self, site: Site, at: dict[str, _Sited]) -> None:
        module = self.parts[site.at]
        if isinstance(module, Attend):
            owner = self.parts[site.owner]
            before, after = self._attend_hooks(owner, at, self._inputs.setdefault(site.at, []))
            self._handles.append(module.register_forward_pre_hook(in_this_thread(before), with_kwargs=True))
            self._handles.append(module.register_forward_hook(in_this_thread(after)))
        elif site.word == "hidden":
            hook = in_this_thread(self._reader_hook(at))
            self._handles.append(module.register_forward_pre_hook(hook))
        else:
            # Before the hooks that end a call, so that a module finds its own call under way.
            hook = in_this_thread(self._giver_hook(at))
            self._handles.append(module.register_forward_hook(hook, prepend=True))

    def _attend_hooks(
        self, owner: nn.Module, at: Mapping[str, _Sited], calls: list[AttendCall]
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The hooks before and after the call of an Attend."""

        def visited(call: AttendCall, word: str, value: Tensor) -> Tensor:
            sited = at.get(word)
            return value if sited is None else call.visit(sited.site.name, word, value, sited.visit)

        def before(
            attend: Attend, args: tuple[Any, ...], kwargs: Mapping[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            inputs = {**dict(zip(("q", "k", "v", "bias"), args, strict=False)), **kwargs}
            call = AttendCall(attend, owner, (inputs["q"], inputs["k"], inputs["v"]), inputs.get("bias"), self.stack)
            call.q, call.k, call.v = (visited(call, word, inputs[word]) for word in ("q", "k", "v"))
            calls.append(call)
            return (call.q, call.k, call.v), {"bias": call.bias}

        def after(attend: Attend, args: Any, output: Tensor) -> Tensor:
            call = calls.pop()
            if any(word in at for word in OF_PAIRS):
                logits, weights = (lambda x, word=word: visited(call, word, x) for word in OF_PAIRS)
                output = call.weighed(output, logits, weights)
            return visited(call, "heads", output)

        return before, after

    def _reader_hook(self, at: Mapping[str, _Sited]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            x = args[0]
            for word, sited in at.items():
                x = visit_tokens(sited.site.name, word, x, self.stack, module, sited.visit)
            return (x, *args[1:])

        return hook

    def _giver_hook(self, at: Mapping[str, _Sited]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            for word, sited in at.items():
                output = visit_tokens(sited.site.name, word, output, self.stack, module, sited.visit)
            return output

        return hook


class Sites:
    """One site of a model, or several: what is asked of it is asked of each of them.

    Every method but :meth:`read` takes ``heads``, ``tokens``, ``keys``, ``images`` and ``channels``, which say what is meant: heads, images
    and channels by number; tokens (of ``logits`` and ``weights`` the queries) by number in the sequence, as (row, column) of the image's
    patches, a slice, ``"prefix"`` or ``"patches"``; keys in the same way, of ``logits`` and ``weights``. Methods but ``read`` return the
    sites again.
    """

    def __init__(self, at: Interventions, chosen: Mapping[str, Site]) -> None:
        self._at, self._chosen = at, chosen

    @property
    def names(self) -> list[str]:
        """The names of the sites."""
        return list(self._chosen)

    def read(self, *, detach: bool = False, device: torch.device | str | None = None) -> dict[str, Tensor]:
        """The values of all forwards to come by the sites' names, after what was asked for before; empty until then.

        Calls after the first of a site have ``:1``, ``:2`` and so on after the name. What gradient checkpointing runs again is not read
        again.

        Args:
            detach: whether they carry no gradients.
            device: where they are kept; where they were made if None.
        """
        values: dict[str, Tensor] = {}
        for name, site in self._chosen.items():
            self._at.add(name, site, _reading(name, values, detach, device, self._at.within))
        return values

    def replace(self, value: Tensor | Callable[[Tensor], Tensor], **part: Unpack[Part]) -> Sites:
        """Put a tensor in place that broadcasts to the value, or what a function makes of the value."""
        return self._change(replaced(value), part)

    def ablate(self, to: Ablation = "zero", *, order: Sequence[int] | None = None, **part: Unpack[Part]) -> Sites:
        """Take away what the site says.

        Args:
            to: ``"zero"``; ``"mean"``, over the images and the tokens meant (at logits and weights over images); or ``"other image"``,
                what image ``order[i]`` has there for image i.
            order: the image before it if None.
        """
        return self._change(ablated(to, Where(**part), order), part)

    def scale(self, factor: float | Tensor, **part: Unpack[Part]) -> Sites:
        """Multiply the value by a number, or a tensor that broadcasts to it."""
        return self._change(scaled(factor), part)

    def patch(self, run: Mapping[str, Tensor], **part: Unpack[Part]) -> Sites:
        """Put in place what :meth:`read` gave of the same sites in another run, call by call.

        Raises:
            ValueError: a site was not read there.
        """
        for name in self._chosen:
            if not any(key == name or key.rpartition(":")[0] == name for key in run):
                raise ValueError(f"{name} was not read in the run to patch from, which has {list(run)}")
        return self._change(lambda name: patched(run, name), part, by_name=True)

    def _change(self, change: Any, part: Part, *, by_name: bool = False) -> Sites:
        where = Where(**part)
        for name, site in self._chosen.items():
            where.check(name, site.word)
        for name, site in self._chosen.items():
            self._at.add(name, site, _changing(change(name) if by_name else change, where))
        return self


def _changing(change: Change, where: Where) -> Callable[[View, int], tuple[Tensor, bool]]:
    return lambda view, call: apply(view, change, where, call)


def _reading(
    name: str, values: dict[str, Tensor], detach: bool, device: torch.device | str | None, within: int
) -> Callable[[View, int], tuple[Tensor, bool]]:
    def act(view: View, call: int) -> tuple[Tensor, bool]:
        if backward_pass() == within:
            count = sum(key == name or key.rpartition(":")[0] == name for key in values)
            shown = view.shown
            kept = shown.detach() if detach else shown
            values[f"{name}:{count}" if count else name] = kept if device is None else kept.to(device)
            # What was read goes on, rather than what it was read from: so that gradients of what comes reach it.
            return view.lift(shown) if shown.requires_grad else view.value, True
        return view.value, True

    return act
