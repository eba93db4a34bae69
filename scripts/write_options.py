"""Write the options of an encoding for users of the client and readers of the docs, from `EncodeOptions`.

It replaces nern_client/options.py, and the table between two comments in docs/encoding.md.
"""

import json
from pathlib import Path
from typing import Any, Final

from nern_cli.option_words import bounds_of, choices_of, flag_of, with_flags
from nern_core.contract.options import EncodeOptions

ROOT: Final = Path(__file__).parent.parent
CLIENT: Final = ROOT / "nern_client" / "options.py"
PAGE: Final = ROOT / "docs" / "encoding.md"
_BEGIN: Final = "<!-- begin of the options, written by `make generate` -->\n"
_END: Final = "<!-- end of the options -->\n"
# Sections of the page that explain an option.
_SECTIONS: Final = {
    "key": "checkpoints",
    "dataset": "data",
    "tier": "tiers",
    "kernels": "what-is-represented",
    "target_bytes": "which-size",
    "target_ratio": "which-size",
    "max_drop": "which-size",
    "kernels_per_coordinate": "large-networks",
    "seconds": "how-long",
    "steps": "how-long",
}
_TYPES: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_VALUES: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "switch"}
_CLIENT_TEXT: Final = '''\
"""Options of a job, written by `make generate`. The service validates them, and documents them at `/docs`."""

from collections.abc import Sequence
from typing import Literal, TypedDict


class EncodeOptions(TypedDict, total=False):
    """The options of one encoding; the service sets defaults for missing ones."""

{fields}
'''


def client_module() -> str:
    """Return the content of nern_client/options.py."""
    fields = (f"    {name}: {_annotation(name, declared)}" for name, declared in _properties().items())
    return _CLIENT_TEXT.format(fields="\n".join(fields))


def page() -> str:
    """Return docs/encoding.md with the current table of options."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{PAGE} has no lines {_BEGIN.strip()!r} and {_END.strip()!r}")
    rows = (f"| {_linked(name)} | {_values(name)} | {_meaning(name)} |\n" for name in EncodeOptions.model_fields)
    return f"{before}{_BEGIN}\n| option | values | meaning |\n|---|---|---|\n{''.join(rows)}\n{_END}{after}"


def _properties() -> dict[str, Any]:
    properties: dict[str, Any] = EncodeOptions.model_json_schema()["properties"]
    return properties


def _annotation(name: str, declared: dict[str, Any]) -> str:
    """Return the Python type of the values that a schema allows."""
    if choices := choices_of(name):
        optional = " | None" if {"type": "null"} in declared.get("anyOf", ()) else ""
        return f"Literal[{', '.join(map(json.dumps, choices))}]{optional}"
    return " | ".join(
        f"Sequence[{_TYPES[kind['items']['type']]}]" if kind["type"] == "array" else _TYPES[kind["type"]]
        for kind in declared.get("anyOf", [declared])
    )


def _values(name: str) -> str:
    default = EncodeOptions.model_fields[name].default
    if choices := choices_of(name):
        return ", ".join(f"`{choice}`" + (" (default)" if choice == default else "") for choice in choices)
    declared = _properties()[name]
    kinds = [kind["type"] for kind in declared.get("anyOf", [declared])]
    repeated = ", repeatable" if "array" in kinds else ""
    bounds = bounds_of(name).removesuffix(".")
    shown = f"{_VALUES[kinds[0]]}{repeated}" + (f", {bounds[0].lower()}{bounds[1:]}" if bounds else "")
    return shown if default is None or isinstance(default, bool) else f"{shown} (default {default})"


def _meaning(name: str) -> str:
    return with_flags(EncodeOptions.model_fields[name].description or "", mark="`").replace("\n\n", " ")


def _linked(name: str) -> str:
    flag = f"`{flag_of(name)}`"
    return f"[{flag}](#{_SECTIONS[name]})" if name in _SECTIONS else flag


if __name__ == "__main__":
    CLIENT.write_text(client_module(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
