"""Write docs/openapi.json, the OpenAPI document that the service returns at /openapi.json."""

import json
from pathlib import Path

from app.main import create_app
from app.settings import Settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "openapi.json"


def described() -> str:
    """Return the document as text."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(described(), encoding="utf-8")
