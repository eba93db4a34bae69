"""References to models and artifacts in MLflow.

`models:/NAME/VERSION`, `models:/NAME/latest`, `models:/NAME@ALIAS`, `models:/m-ID` and `runs:/RUN/PATH`.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from nern_core.contract.errors import NernError, quoted

_SCHEMES = ("models:", "runs:")
# MLflow's rules: a name has no slashes or colons, an alias is a word.
_VERSION = re.compile(r"models:/(?P<name>[^/:@]+)/(?P<version>[1-9][0-9]{0,17})(?:/(?P<path>.*))?")
_ALIAS = re.compile(r"models:/(?P<name>[^/:@]+)@(?P<alias>[\w.-]+)(?:/(?P<path>.*))?", re.ASCII)
_STAGE = re.compile(
    r"models:/(?P<name>[^/:@]+)/(?P<stage>latest|none|staging|production|archived)(?:/(?P<path>.*))?", re.IGNORECASE
)
# Returned by `log_model` of MLflow 3. For a registered model with such a name, a version follows.
_LOGGED = re.compile(r"models:/(?P<model_id>m-[0-9A-Za-z_-]{1,64})(?:/(?P<path>.*))?")
_RUN = re.compile(r"runs:/(?P<run_id>[0-9A-Za-z_-]{1,64})(?:/(?P<path>.*))?")
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class VersionReference:
    """A version of a registered model, and the path of a file or folder in it; an empty path means all of it."""

    name: str
    version: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}/{self.version}", self.path)


@dataclass(frozen=True, slots=True)
class AliasReference:
    """The version of a registered model with an alias."""

    name: str
    alias: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}@{self.alias}", self.path)

    def of_version(self, version: str) -> VersionReference:
        """Return the reference to the version with the alias, once it is known."""
        return VersionReference(self.name, version, self.path)


@dataclass(frozen=True, slots=True)
class StageReference:
    """The newest version of a registered model, among all versions (`latest`) or those in a stage."""

    name: str
    stage: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}/{self.stage}", self.path)

    @property
    def stages(self) -> list[str]:
        """The stages to search; empty means all."""
        return [] if self.stage.lower() == "latest" else [self.stage.capitalize()]

    def of_version(self, version: str) -> VersionReference:
        """Return the reference to the newest version, once it is known."""
        return VersionReference(self.name, version, self.path)


@dataclass(frozen=True, slots=True)
class LoggedModelReference:
    """A logged model, registered or not."""

    model_id: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.model_id}", self.path)


@dataclass(frozen=True, slots=True)
class RunReference:
    """Artifacts of a run."""

    run_id: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"runs:/{self.run_id}", self.path)


Reference: TypeAlias = VersionReference | AliasReference | StageReference | LoggedModelReference | RunReference


def is_reference(text: str) -> bool:
    """Return true if a text looks like a reference to an MLflow server."""
    return text.startswith(_SCHEMES)


def parse_reference(text: str) -> Reference:
    """Parse a reference. Raises `NernError` (`invalid_reference`)."""
    if len(text) <= _LONGEST and text.isprintable():
        if found := _VERSION.fullmatch(text):
            return VersionReference(found["name"], found["version"], _path(found["path"]))
        if found := _ALIAS.fullmatch(text):
            return AliasReference(found["name"], found["alias"], _path(found["path"]))
        if found := _STAGE.fullmatch(text):
            return StageReference(found["name"], found["stage"], _path(found["path"]))
        if found := _LOGGED.fullmatch(text):
            return LoggedModelReference(found["model_id"], _path(found["path"]))
        if found := _RUN.fullmatch(text):
            return RunReference(found["run_id"], _path(found["path"]))
    raise NernError(
        "invalid_reference",
        f"{quoted(text)} is not a reference to MLflow; write models:/NAME/VERSION, models:/NAME/latest, "
        "models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH, followed by the path of a file if there are several.",
    )


def _path(text: str | None) -> str:
    """Return a path that stays below the artifacts. Raises `NernError` (`invalid_reference`)."""
    parts = (text or "").strip("/").split("/")
    if parts == [""]:
        return ""
    if any(part in {"", ".", ".."} or "\\" in part for part in parts):
        raise NernError("invalid_reference", f"{quoted(text or '')} is not a path of an artifact; remove empty parts.")
    return "/".join(parts)


def _joined(root: str, path: str) -> str:
    return f"{root}/{path}" if path else root
