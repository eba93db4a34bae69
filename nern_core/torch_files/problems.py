"""Errors of torch files, and the way out that they name."""

from nern_core.errors import NernError, quoted

__all__ = ["LOADED", "damaged", "executable", "quoted", "unsupported_format"]

_HOW_TO = "save the network's state_dict() with torch.save or safetensors and send that"
# Only a person who trusts the file may load it so.
LOADED = f"{'torch.load'}(FILE, map_location='cpu', weights_only={False})"


def damaged(reason: str) -> NernError:
    """The file is not what torch.save writes."""
    return NernError("unreadable_checkpoint", f"The torch file cannot be read, since {reason}; {_HOW_TO}.")


def executable(what: str, weights: str | None = None) -> NernError:
    """Loading the file would run what it asks for. `weights` is Python that loads it and takes its weights."""
    how_to = _HOW_TO
    if weights is not None:
        how_to = f"if you trust it, save its weights alone, `torch.save({weights}, 'weights.pt')`, and send those"
    return NernError("executable_checkpoint", f"The file {what}, and nothing that a file asks for is run; {how_to}.")


def unsupported_format(what: str) -> NernError:
    """The file has another format, or is larger than is read."""
    return NernError("unsupported_format", f"The file {what}; {_HOW_TO}.")
