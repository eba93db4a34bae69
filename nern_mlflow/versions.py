"""Versions of registered models that are encodings."""

import warnings
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from nern_core.contract.errors import NernError
from nern_mlflow.references import StageReference
from nern_mlflow.tags import KEY


def find_version(tracking: MlflowClient, model: str, key: str) -> ModelVersion | None:
    """Return the newest version of a model that results from the same request."""
    found = tracking.search_model_versions(f"tags.`{KEY}` = '{key}'")
    ours = [version for version in found if version.name == model]
    return max(ours, key=lambda version: int(version.version), default=None)


def newest_version(tracking: MlflowClient, reference: StageReference) -> str:
    """Return the number of the newest version. Raises `NernError` (`no_version`)."""
    with warnings.catch_warnings():
        # Stages are deprecated, but still in use.
        warnings.simplefilter("ignore", FutureWarning)
        found = tracking.get_latest_versions(reference.name, reference.stages or None)
    if not found:
        raise NernError("no_version", f"The model {reference.name} has no version '{reference.stage}'.")
    return str(max(int(version.version) for version in found))


def register_version(
    tracking: MlflowClient, model: str, *, uri: str, run_id: str, tags: Mapping[str, str], description: str
) -> ModelVersion:
    """Create a new version of a model, and the model itself if it is missing."""
    try:
        tracking.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return tracking.create_model_version(model, uri, run_id=run_id, tags=dict(tags), description=description)
