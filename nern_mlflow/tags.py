"""Names of the tags that link runs and model versions with jobs and their inputs."""

from typing import Final

# Key of a request, derived from all that determines an encoding: equal keys mean equal requests.
KEY: Final = "nern.key"
JOB_ID: Final = "nern.job_id"
SOURCE: Final = "nern.source"
SOURCE_SHA256: Final = "nern.source_sha256"
ENCODING_SHA256: Final = "nern.encoding_sha256"
WEIGHTS_SHA256: Final = "nern.weights_sha256"
VERDICT: Final = "nern.verdict"
VERDICT_SENTENCE: Final = "nern.verdict_sentence"
ERROR: Final = "nern.error"
