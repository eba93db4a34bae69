"""Addresses of what has an id or a name."""

from urllib.parse import quote


def address_of(collection: str, name: str) -> str:
    """Address of one thing in a collection such as `/jobs`.

    Raises `ValueError` for an empty name: its address would be that of the whole collection.
    """
    if not name.strip():
        raise ValueError(f"{collection}/ needs an id or a name behind it, not an empty one")
    return f"{collection}/{quote(name, safe='')}"
