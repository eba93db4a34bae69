"""Read the `config.json` of a stranger: choose a class of transformers, and make its configuration.

What would run code of the folder or of the hub is left out: `auto_map`, kernels and quantizers that are named by their
repository, and pretrained parts. Numbers are bounded, because configurations make lists of that many layers or labels.
"""

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.transformers_models.names import PREFIX

AUTO: Final = "auto"
_CLASS_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_LEFT_OUT: Final = re.compile(
    r"auto_map|_?(?:attn|experts)_implementation(?:_internal)?|quantization_config|use_kernels|kernel_config|"
    r"_?name_or_path|_commit_hash|(?:torch_)?dtype|transformers_version|custom_pipelines|"
    r"use_pretrained_backbone|backbone_kwargs|output_(?:attentions|hidden_states)|(?:use_)?return_dict|torchscript|__.*"
)
# Parts of the names of numbers of layers or labels, by which lists are made, and of sizes.
_COUNT: Final = re.compile(r"layer|label|block|depth|stage|expert")
_SIZE: Final = re.compile(r"head|num_|n_|vocab|size|dim|length|width|position")
_LARGEST_COUNT: Final = 2**17
_LARGEST_SIZE: Final = 2**24
_LARGEST_NUMBER: Final = 2**40
_DEEPEST: Final = 12
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
# Their configuration names a network of another library, which may be on the hub.
_OTHER_LIBRARIES: Final = ("Timm",)


def network_class(transformers: ModuleType, name: str, config: Mapping[str, Any]) -> type[Any]:
    """Return the class that an architecture's name, without its prefix, or the configuration names.

    Raises `NernError` (`bad_config`, `unknown_architecture`).
    """
    if name == AUTO:
        named = config.get("architectures")
        if not isinstance(named, list) or not named or not isinstance(named[0], str):
            raise NernError(
                "bad_config",
                f"The config.json names no class in `architectures`; name it: --architecture {PREFIX}:CLASS.",
            )
        name = named[0]
    found = None
    if _CLASS_NAME.fullmatch(name) and not name.startswith(_OTHER_LIBRARIES):
        try:
            found = getattr(transformers, name, None)
        except (ImportError, RuntimeError):
            found = None
    is_network = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    if not is_network or found is None or not found.__module__.startswith("transformers.models."):
        raise NernError(
            "unknown_architecture",
            f"transformers has no network {quoted(name)}, and code beside a checkpoint is never run; import the "
            "network's own code with --architecture package.module:NAME.",
        )
    return found  # type: ignore[no-any-return] # transformers has no type information here


def make_configuration(network: type[Any], config: Mapping[str, Any]) -> Any:  # noqa: ANN401 # transformers has its own type for each
    """Make the configuration of a network. Raises `NernError` (`bad_config`)."""
    cleaned = _cleaned(config, "", 0)
    try:
        made = network.config_class.from_dict(cleaned)
        # A network that returns its keys and values for the next token would compute them for nothing.
        made.use_cache = False
    except Exception as error:  # the configuration is a stranger's, and the library checks it in many ways
        raise bad_config(error) from error
    return made


def bad_config(error: Exception) -> NernError:
    """Make the error for a configuration that describes no network."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return NernError(
        "bad_config", f"The config.json describes no network of transformers: {quoted(reason)}; use a complete copy."
    )


def _cleaned(value: Any, name: str, depth: int) -> Any:  # noqa: ANN401 # JSON
    """Copy JSON without the entries that are left out. Raises `NernError` (`bad_config`)."""
    if depth > _DEEPEST:
        raise NernError("bad_config", f"The config.json is nested more than {_DEEPEST} deep; use a complete copy.")
    if isinstance(value, Mapping):
        return {key: _cleaned(part, key, depth + 1) for key, part in value.items() if not _LEFT_OUT.fullmatch(key)}
    if isinstance(value, list):
        return [_cleaned(part, name, depth + 1) for part in value]
    if isinstance(value, int) and abs(value) > _largest(name):
        raise NernError(
            "bad_config",
            f"The config.json has {quoted(name)} above {_largest(name):,}, which no network has; use a complete copy.",
        )
    # Names with a scheme or a path refer to files or to the hub.
    if name == "backbone" and isinstance(value, str) and not _PLAIN_NAME.fullmatch(value):
        raise NernError(
            "bad_config",
            f"The config.json refers to {quoted(value)}, and no other files are read; encode without `dataset`.",
        )
    return value


def _largest(name: str) -> int:
    if _COUNT.search(name):
        return _LARGEST_COUNT
    return _LARGEST_SIZE if _SIZE.search(name) else _LARGEST_NUMBER
