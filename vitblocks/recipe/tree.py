"""The modules of a model by path, every place of a shared one among them."""

from __future__ import annotations

from itertools import islice

from torch import nn


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


class Tree:
    """Every module by its path, owners before what they hold.

    Args:
        most: how many places there may be.

    Raises:
        ValueError: a module holds itself, or there are more.
    """

    def __init__(self, model: nn.Module, most: int = 1_000_000) -> None:
        try:
            places = list(islice(model.named_modules(remove_duplicate=False), most + 1))
        except RecursionError:
            raise ValueError(
                f"a {type(model).__name__} holds itself, or its modules lie too deep in one another"
            ) from None
        if len(places) > most:
            raise ValueError(f"a {type(model).__name__} has more than {most:,} modules")
        self.modules: dict[str, nn.Module] = dict(places)
        self._children: dict[str, list[str]] = {path: [] for path in self.modules}
        for path in self.modules:
            owner, _, name = path.rpartition(".")
            if path:
                self._children[owner].append(name)

    def children(self, path: str) -> list[str]:
        """The names of the modules that a module holds, in order."""
        return self._children[path]


def aliases(tree: Tree) -> dict[str, str]:
    """The paths of modules and parameters that are met a second time, with that of the first time; not what lies inside of them."""
    seen: dict[int, str] = {}
    found: dict[str, str] = {}
    inside: set[str] = set()
    for path, module in tree.modules.items():
        owner = path.rpartition(".")[0]
        if path and (owner in found or owner in inside):
            inside.add(path)
            continue
        first = seen.setdefault(id(module), path)
        if first != path:
            found[path] = first
            continue
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            place = join(path, name)
            if (first := seen.setdefault(id(parameter), place)) != place:
                found[place] = first
    return found
