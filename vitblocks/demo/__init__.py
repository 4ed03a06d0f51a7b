"""The demo: assemble a hybrid from parts, train it on scanned digits, save it, swap its attention, and draw what it looks at.

Run it as ``python -m vitblocks.demo --output demo``. The model is in ``hybrid.py``.
"""

from .cli import main

__all__ = ["main"]
