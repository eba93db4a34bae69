"""Plain sentences on invalid options of an encoding."""

import re
from typing import Final

from pydantic_core import ErrorDetails

from nern_core.contract.catalogue.architectures import ARCHITECTURE_NAMES, ENTRY_POINTS, UNKNOWN_ARCHITECTURE
from nern_core.contract.catalogue.networks import closest_architecture
from nern_core.contract.invalid_values import explain_value
from nern_core.contract.option_conflicts import OptionConflict
from nern_core.contract.options import EncodeOptions

# A file, or a class in a module: names of installed packages do not begin with a capital letter.
_OWN_CODE: Final = re.compile(r".+\.py(:.*)?|[\w.]+:[A-Z]\w*|\w+(\.\w+)+:\w+")


def explain_invalid(detail: ErrorDetails) -> str:
    """Describe an invalid option in one sentence, from pydantic's error."""
    if detail["type"] == "extra_forbidden":
        return f"there is no such option; the options are {', '.join(EncodeOptions.model_fields)}."
    if detail["type"] == UNKNOWN_ARCHITECTURE:
        if _OWN_CODE.fullmatch(detail["input"]):
            return (
                "there is no such architecture; a service takes no code of yours, so install it there as a package "
                f"with entry points of the group {ENTRY_POINTS}, or encode on this machine."
            )
        meant = closest_architecture(detail["input"])
        return f"there is no such architecture; {f'did you mean {meant}?' if meant else f'use {ARCHITECTURE_NAMES}.'}"
    return explain_value(detail)


def conflicting_option(detail: ErrorDetails) -> str | None:
    """Return the option that conflicts with the others; None for errors of another kind."""
    error = detail.get("ctx", {}).get("error")
    return error.option if isinstance(error, OptionConflict) else None
