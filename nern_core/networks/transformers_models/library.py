"""Import transformers, without access to the network and without its messages."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from nern_core.contract.extras import extra_error
from nern_core.networks.torchvision_models import import_models

_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def offline_library() -> Iterator[ModuleType]:
    """Yield transformers while nothing can be fetched. Raises `NernError` (`missing_extra`) if it is not installed."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(_OFFLINE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformers = _import()
            # Another library may have imported the client of the hub before, which then has read the variables.
            constants: Any = transformers.utils.hub.constants
            was_offline = constants.HF_HUB_OFFLINE
            constants.HF_HUB_OFFLINE = True
            try:
                yield transformers
            finally:
                constants.HF_HUB_OFFLINE = was_offline
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _import() -> ModuleType:
    # transformers imports torchvision, which may need the missing operators.
    import_models()
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise extra_error("Networks of transformers need", "transformers") from error
    transformers.logging.set_verbosity_error()
    module: ModuleType = transformers
    return module
