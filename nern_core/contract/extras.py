"""The sentence on an extra of the installation that is missing. Torch-free."""

from nern_core.contract.errors import NernError


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'nern[{extra}]'"


def extra_error(subject: str, extra: str) -> NernError:
    """Make the error (`missing_extra`) for a `subject` with its verb, such as "ONNX files need"."""
    return NernError("missing_extra", f"{subject} the extra `{extra}`: {install(extra)}.")
