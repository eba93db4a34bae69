"""Folders and files of the repository that tests use."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "digits-cnn.safetensors"
DIGITS = ROOT / "examples" / "digits"
