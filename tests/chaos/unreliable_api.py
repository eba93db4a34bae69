"""The API on a database that loses answers: `uvicorn tests.chaos.unreliable_api:app`."""

from app.main import app
from tests.chaos.unreliable_commits import lose_answers

__all__ = ["app"]

lose_answers()
