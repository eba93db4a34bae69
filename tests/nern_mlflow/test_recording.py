from typing import Any

import pytest

pytest.importorskip("mlflow", reason="MLflow is not installed here")

from nern_client import Job
from nern_mlflow.recording import figures_of, verdict_tags

VERDICT = {"level": "degraded", "sentence": "96.00 % are right.", "advice": "Ask for more bytes."}


def job(**metrics: Any) -> Job:
    return Job.model_construct(metrics=metrics)


def test_the_verdict_becomes_two_tags() -> None:
    assert verdict_tags(job(verdict=VERDICT)) == {
        "nern.verdict": "degraded",
        "nern.verdict_sentence": "96.00 % are right. Ask for more bytes.",
    }


def test_a_result_of_an_earlier_service_has_no_such_tags() -> None:
    assert verdict_tags(job(file_bytes=5)) == {}


def test_figures_are_numbers_alone() -> None:
    given = {"file_bytes": 5, "verdict": VERDICT, "notes": ["a note"], "seconds": {"total": 2.0}}
    assert figures_of(job(**given)) == {"file_bytes": 5.0, "seconds/total": 2.0}
