"""Data sets of encoded images: folders by class, Parquet, folders saved by `datasets`, and WebDataset archives.

Every format gives parts: images in a fixed order, with labels if there are any. Files are opened when their image is
needed, so that a data set may be larger than memory. Nothing in a file is executed.
"""

from nern_core.networks.image_files.decoding import TargetSize
from nern_core.networks.image_files.finding import find_image_files
from nern_core.networks.image_files.parts import ImageFiles
from nern_core.networks.image_files.reading import Pixels, read_pixels, stored_size

__all__ = ["ImageFiles", "Pixels", "TargetSize", "find_image_files", "read_pixels", "stored_size"]
