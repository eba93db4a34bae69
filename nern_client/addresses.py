"""Addresses of resources with an id or a name."""

from urllib.parse import quote


def address_of(collection: str, name: str) -> str:
    """Return the address of one item of a collection such as `/jobs`.

    Raises `ValueError` for an empty name, because its address would be that of the whole collection.
    """
    if not name.strip():
        raise ValueError(f"the id or name after {collection}/ must not be empty")
    return f"{collection}/{quote(name, safe='')}"
