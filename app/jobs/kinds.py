"""Kinds of jobs."""

from enum import StrEnum


class JobKind(StrEnum):
    """`encoding`: a checkpoint becomes a `.nern` file. `reconstruction`: a `.nern` file becomes weights."""

    ENCODING = "encoding"
    RECONSTRUCTION = "reconstruction"
