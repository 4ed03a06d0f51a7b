"""The contract as checks to run on layers of your own: they return nothing, or raise AssertionError saying which rule broke.

:func:`check_layer` is for ``layer(x, grid) -> x``, :func:`check_transition` for ``(x, grid) -> (x, grid)``, :func:`check_attend` for an
:class:`~vitblocks.attention.Attend`. :func:`influence` tells which tokens a layer lets see one another. All of them work on copies, the
checks on the CPU: what is given stays as it is, and so does PyTorch's global random state where the layer does not draw from it.
"""

from .attends import check_attend
from .influences import influence
from .layers import check_layer, check_transition
from .subject import DTYPES, GRIDS, TOLERANCES

__all__ = ["DTYPES", "GRIDS", "TOLERANCES", "check_attend", "check_layer", "check_transition", "influence"]
