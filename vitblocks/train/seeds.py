"""Randomness that follows from numbers, not from what was drawn before: of it nothing has to be kept to go on."""

from __future__ import annotations

from hashlib import blake2b

import torch


def seed_of(*parts: object) -> int:
    """A seed of 63 bits from numbers and words: others for others, the same on every machine."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*parts: object) -> torch.Generator:
    """A generator of the CPU with such a seed."""
    return torch.Generator().manual_seed(seed_of(*parts))
