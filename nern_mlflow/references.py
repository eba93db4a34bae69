"""Names of what MLflow keeps.

`models:/NAME/VERSION`, `models:/NAME/latest`, `models:/NAME@ALIAS`, `models:/m-ID` and `runs:/RUN/PATH`.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from nern_core.errors import NernError, quoted

_SCHEMES = ("models:", "runs:")
# MLflow's own rules: a name has neither slashes nor colons, an alias is a word.
_VERSION = re.compile(r"models:/(?P<name>[^/:@]+)/(?P<version>[1-9][0-9]{0,17})(?:/(?P<path>.*))?")
_ALIAS = re.compile(r"models:/(?P<name>[^/:@]+)@(?P<alias>[\w.-]+)(?:/(?P<path>.*))?", re.ASCII)
_STAGE = re.compile(
    r"models:/(?P<name>[^/:@]+)/(?P<stage>latest|none|staging|production|archived)(?:/(?P<path>.*))?", re.IGNORECASE
)
# What `log_model` of MLflow 3 returns. A registered model of such a name has a version behind it.
_LOGGED = re.compile(r"models:/(?P<model_id>m-[0-9A-Za-z_-]{1,64})(?:/(?P<path>.*))?")
_RUN = re.compile(r"runs:/(?P<run_id>[0-9A-Za-z_-]{1,64})(?:/(?P<path>.*))?")
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class VersionReference:
    """A version of a registered model, and what is meant of it: a file, a folder or, with an empty path, all."""

    name: str
    version: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}/{self.version}", self.path)


@dataclass(frozen=True, slots=True)
class AliasReference:
    """The version of a registered model that has an alias."""

    name: str
    alias: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}@{self.alias}", self.path)

    def of_version(self, version: str) -> VersionReference:
        """The same, once it is known which version has the alias."""
        return VersionReference(self.name, version, self.path)


@dataclass(frozen=True, slots=True)
class StageReference:
    """The newest version of a registered model: of all (`latest`) or of those in a stage."""

    name: str
    stage: str
    path: str = ""

    def __str__(self) -> str:
        return _joined(f"models:/{self.name}/{self.stage}", self.path)

    @property
    def stages(self) -> list[str]:
        """The stages to look in; none means all."""
        return [] if self.stage.lower() == "latest" else [self.stage.capitalize()]

    def of_version(self, version: str) -> VersionReference:
        """The same, once it is known which version is the newest."""
        return VersionReference(self.name, version, self.path)


@dataclass(frozen=True, slots=True)
class LoggedModelReference:
    """A model that was logged, registered or not."""

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
    """Whether a text is meant to name something of an MLflow server."""
    return text.startswith(_SCHEMES)


def parse_reference(text: str) -> Reference:
    """Understand a reference. Raises `NernError` (`invalid_reference`)."""
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
        f"{quoted(text)} names no artifact of MLflow; write models:/NAME/VERSION, models:/NAME/latest, "
        "models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH, with the path of a file behind it if there are several.",
    )


def _path(text: str | None) -> str:
    """A path below the artifacts, that stays below them. Raises `NernError` (`invalid_reference`)."""
    parts = (text or "").strip("/").split("/")
    if parts == [""]:
        return ""
    if any(part in {"", ".", ".."} or "\\" in part for part in parts):
        raise NernError("invalid_reference", f"{quoted(text or '')} is no path of an artifact; leave out empty parts.")
    return "/".join(parts)


def _joined(root: str, path: str) -> str:
    return f"{root}/{path}" if path else root
