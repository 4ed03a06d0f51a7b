"""Live models of other libraries come in, proven equal, and go out again.

``model, report = adopt(module)`` makes a model of parts with the settings and the weights of a timm or transformers model, runs both on
random images, and refuses where they differ. ``release(model, like=module)`` puts weights that were trained since back.

How a class of another library is read stands beside the paper, in ``vitblocks/zoo/<paper>/origins.py``: the attribute ``origins`` of the
class that it becomes maps the full name of theirs to an :class:`Origin`. Nothing of another library is imported here.
"""

from . import timm, transformers
from .adopting import Adopted, Adoption, adopt, release
from .hub import folder_of
from .loading import load_model
from .origin import Origin, origin_of, origins
from .preprocessing import Preprocessing, preprocess
from .published import Published, published
from .settings import activation_of, norm_of, rate_of, refuse_unless

__all__ = [
    "Adopted",
    "Adoption",
    "Origin",
    "Preprocessing",
    "Published",
    "activation_of",
    "adopt",
    "folder_of",
    "load_model",
    "norm_of",
    "origin_of",
    "origins",
    "preprocess",
    "published",
    "rate_of",
    "refuse_unless",
    "release",
    "timm",
    "transformers",
]
