"""The API on a machine with a wrong clock: `uvicorn tests.chaos.skewed_api:app`."""

from app.main import app
from tests.chaos.skewed_clock import skew_clock

__all__ = ["app"]

skew_clock()
