"""Networks of the user's own code: `package.module:attribute` or `path/to/file.py:attribute`.

Importing runs that code. So only a name that the user typed is imported, never one from a file or a request: a command
calls `import_architecture` for it, and passes the result on.
"""

import copy
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.architecture import Architecture


def is_own_code(name: str) -> bool:
    """Return True if a name has the form of the user's own code."""
    module, separator, attribute = name.rpartition(":")
    return bool(separator) and bool(module) and all(part.isidentifier() for part in attribute.split("."))


def import_architecture(name: str) -> Architecture | None:
    """Import the code that a name refers to; None if there is no such module.

    The current folder is searched for modules, too. Raises `NernError` (`broken_architecture`) if the code cannot be
    imported or makes no network.
    """
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _file(Path(module_name)) if module_name.endswith(".py") else _module(module_name)
        target = module
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # the user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
            return None
        raise NernError(
            "broken_architecture",
            f"The architecture {quoted(name)} cannot be imported: {type(error).__name__}: {error}.",
        ) from error
    return architecture_from(name, target)


def architecture_from(name: str, target: object) -> Architecture:
    """Return the architecture that a network, or a class or function without arguments, makes.

    Raises `NernError` (`broken_architecture`).
    """
    if isinstance(target, Architecture):
        return target
    if isinstance(target, nn.Module):
        return Architecture(name=name, build=lambda classes: copy.deepcopy(target))
    if not callable(target):
        raise NernError(
            "broken_architecture",
            f"{quoted(name)} is of the type {type(target).__name__}; give a network, or a function or class that "
            "makes one.",
        )
    return Architecture(name=name, build=lambda classes: _built(name, target))


def _built(name: str, target: Callable[[], Any]) -> nn.Module:
    try:
        network = target()
    except Exception as error:  # the user's code may raise anything
        how_to = " Write a function without arguments that makes the network." if _has_required(target) else ""
        raise NernError(
            "broken_architecture",
            f"The architecture {quoted(name)} cannot be built: {type(error).__name__}: {error}.{how_to}",
        ) from error
    if not isinstance(network, nn.Module):
        raise NernError(
            "broken_architecture", f"{quoted(name)} returned a {type(network).__name__} instead of a network."
        )
    return network


def _has_required(target: Callable[..., Any]) -> bool:
    """Return True if a callable cannot be called without arguments."""
    try:
        inspect.signature(target).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False


def _file(path: Path) -> ModuleType:
    """Import a file, under its own name, with its folder on the path for its imports."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    # Classes are found in their module by pickling and by dataclasses.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)
