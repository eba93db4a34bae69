"""The envelope of a `.nern` file, the same for every representation: document, kept tensors and limits."""

from nern_core.container.document import Document
from nern_core.container.encoding import Encoding
from nern_core.container.kept import Kept, RoundedTensor
from nern_core.container.sizes import Sizes

__all__ = ["Document", "Encoding", "Kept", "RoundedTensor", "Sizes"]
