"""Images to train on, wherever they are from."""

from .digits import digits
from .folder import image_folder
from .hugging_face import hugging_face
from .images import Images, Labelled, split
from .sources import load_data

__all__ = ["Images", "Labelled", "digits", "hugging_face", "image_folder", "load_data", "split"]
