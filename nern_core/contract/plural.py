"""The words of a counted thing. Torch-free."""


def plural(count: int, one: str, several: str) -> str:
    """Return `one` for 1, and `several` for other counts."""
    return one if count == 1 else several
