"""The options of a job as people read them: labels, bounds of the form's fields, and values."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from markupsafe import Markup, escape

from nern_core.contract.options import EncodeOptions

# The form, its messages and the page of a job use the same labels.
LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "architecture": "Architecture",
        "key": "Key",
        "dataset": "Data set",
        "representation": "Representation",
        "recipe": "Recipe",
        "tier": "Tier",
        "outputs": "Outputs",
        "kernels": "Kernels",
        "target_bytes": "File size",
        "target_ratio": "Compression ratio",
        "max_drop": "Accuracy drop",
        "hidden_size": "Predictor width",
        "kernels_per_coordinate": "Kernels per coordinate",
        "permutation": "Permutation",
        "seconds": "Training time",
        "steps": "Training steps",
        "rounds": "Rounds",
        "fail_over": "Fail above accuracy drop",
        "importance": "Importance of kernels",
        "direct_quantization": "Compare with direct quantization",
        "seed": "Seed",
        "device": "Device",
    }
)
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "target_bytes": "bytes",
        "target_ratio": "times",
        "max_drop": "points",
        "hidden_size": "units",
        "seconds": "seconds",
        "steps": "steps",
        "fail_over": "points",
    }
)
# Help texts of the form that differ from the descriptions for programs.
HELP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dataset": "The name of an uploaded data set, or a folder on the service's machine. It is used for "
        "training and to measure the accuracy. Needs `architecture`.",
    }
)
_NAME_IN_TEXT = re.compile("`([^`]+)`")
# Above, whole numbers have an exponent, as people write them too.
_LONGEST_WHOLE: Final = 10**15


def label(name: str) -> str:
    """The label of an option; its name if a newer release has added the option."""
    return LABELS.get(name, name)


def in_words(text: str) -> Markup:
    """A text about options as HTML, with their labels in the place of their names, and values as code."""
    return Markup(_NAME_IN_TEXT.sub(_label_or_code, str(escape(text))))  # noqa: S704 # escaped


def help_of(name: str) -> Markup:
    """The help of an option's field in the form."""
    return in_words(HELP.get(name) or EncodeOptions.model_fields[name].description or "")


def _label_or_code(found: re.Match[str]) -> str:
    return f"“{escape(LABELS[found[1]])}”" if found[1] in LABELS else f"<code>{found[1]}</code>"


def bounds(name: str) -> Mapping[str, str]:
    """The attributes that give the field of an option the bounds that the API has.

    HTML knows only bounds that are allowed themselves; `data-above` is one that is not.
    """
    field = EncodeOptions.model_fields[name]
    is_whole = int in (field.annotation, *get_args(field.annotation))
    found: dict[str, str] = {}
    for bound in field.metadata:
        match bound:
            case Ge(ge=least):
                found["min"] = str(least)
            case Gt(gt=below):
                found["data-above"] = str(below)
            case Le(le=most):
                found["max"] = str(most)
            case Lt(lt=end):
                found["max"] = str(end - 1)  # type: ignore[operator] # only whole numbers have this bound
            case MaxLen(max_length=longest):
                found["maxlength"] = str(longest)
    is_number = float in (field.annotation, *get_args(field.annotation))
    step = {"step": "1"} if is_whole else {"step": "any"} if is_number else {}
    return found | step


def plain(value: object) -> str:
    """A value as people write it, and as fields of a form take it: `600`, `layer1.*, layer2.*`, `yes`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < _LONGEST_WHOLE:
        return str(int(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def given(options: EncodeOptions | Mapping[str, Any]) -> Mapping[str, str]:
    """The options that were given, each with its unit, by label."""
    values = (
        options.model_dump(mode="json", exclude_defaults=True) if isinstance(options, EncodeOptions) else dict(options)
    )
    return {
        label(name): f"{plain(value)} {UNITS[name]}" if name in UNITS else plain(value)
        for name, value in values.items()
    }
