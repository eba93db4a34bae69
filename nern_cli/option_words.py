"""Options of an encoding in the words of the command line: flags, help texts and bounds."""

import re
from typing import Final

import annotated_types

from nern_core.contract.options import LARGEST_INTEGER, EncodeOptions

_OPTION: Final = re.compile(rf"`({'|'.join(EncodeOptions.model_fields)})`")


def flag_of(option: str) -> str:
    """Return the flag of an option: `--fail-over` for `fail_over`."""
    return f"--{option.replace('_', '-')}"


def with_flags(sentence: str, mark: str = "") -> str:
    """Replace names of options by flags, with `mark` on both sides: `fail_over` by `--fail-over`."""
    return _OPTION.sub(lambda option: f"{mark}{flag_of(option[1])}{mark}", sentence)


def help_of(option: str) -> str:
    """Return the help text of an option: the first paragraph of its description."""
    summary, _, _ = (EncodeOptions.model_fields[option].description or "").partition("\n\n")
    return with_flags(summary).replace("`", "")


def choices_of(option: str) -> tuple[str, ...]:
    """Return the values that an option can have; empty if there are too many to list."""
    schema = EncodeOptions.model_json_schema()
    declared = schema["properties"][option]
    # An optional choice is one of two alternatives; the other one is null.
    for kind in declared.get("anyOf", [declared]):
        named = schema["$defs"][kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
        if "enum" in named:
            return tuple(named["enum"])
    return ()


def bounds_of(option: str) -> str:
    """Return the bounds of an option as a sentence, such as `From 8 to 4096.`; empty without bounds."""
    parts = []
    for bound in EncodeOptions.model_fields[option].metadata:
        match bound:
            case annotated_types.Ge(ge=least):
                parts.append(f"from {least:g}")
            case annotated_types.Gt(gt=limit):
                parts.append(f"above {limit:g}")
            # Larger limits only keep numbers exact.
            case annotated_types.Le(le=int() | float() as most) if most < LARGEST_INTEGER:
                parts.append(f"up to {most:g}")
            case _:
                pass
    text = " ".join(parts)
    if text.startswith("from "):
        text = text.replace(" up to ", " to ") if " up to " in text else f"{text.removeprefix('from ')} or more"
    return f"{text[0].upper()}{text[1:]}." if text else ""
