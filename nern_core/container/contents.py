"""Parse and check the document of a `.nern` file, and separate its streams. Torch-free."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

from pydantic import JsonValue, ValidationError

from nern_core.container.document import Contents
from nern_core.container.kept_bytes import COMPRESSED, PLAIN
from nern_core.container.stored_tensors import StoredTensor
from nern_core.contract.errors import NernError
from nern_core.contract.options import ANY_ARCHITECTURE
from nern_core.formats.document_text import inflate_document
from nern_core.formats.encoding_structure import DOCUMENT, GRAPH
from nern_core.formats.graph_compression import decompress_graph
from nern_core.formats.plain_values import NotPlainError, from_json
from nern_core.formats.tensor_claims import is_name

STREAMS: Final = "streams"


def parse_contents(tensors: Mapping[str, StoredTensor], file_name: str) -> Contents:
    """Return the document with its graph, the lengths of the streams and the kept tensors.

    Raises `NernError` (`bad_encoding`).
    """
    graph = tensors.get(GRAPH)
    contents = _read_contents(_bytes_of(tensors[DOCUMENT]), None if graph is None else _bytes_of(graph), file_name)
    _check_names(contents)
    return contents


def split_streams(tensors: Mapping[str, StoredTensor], lengths: Sequence[int]) -> list[bytes]:
    """Return the byte streams of these lengths. Raises `NernError` (`bad_encoding`)."""
    joined = _bytes_of(tensors[STREAMS]) if STREAMS in tensors else b""
    if sum(lengths) != len(joined):
        raise NernError("bad_encoding", "The .nern file is damaged: its streams do not have the declared lengths.")
    return [joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


def separate_kept(tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    """Return the kept tensors, and those that the representation has added."""
    others = {name: tensor for name, tensor in tensors.items() if name not in {DOCUMENT, GRAPH, STREAMS}}
    kept = {name: tensor for name, tensor in others.items() if name.startswith((PLAIN, COMPRESSED))}
    return kept, {name: tensor for name, tensor in others.items() if name not in kept}


def _bytes_of(tensor: StoredTensor) -> bytes:
    """Return the data of a tensor of bytes. Raises `NernError` (`bad_encoding`) for any other tensor."""
    if tensor.dtype != "uint8" or len(tensor.shape) != 1:
        raise NernError("bad_encoding", "The .nern file is damaged: a tensor of bytes has another dtype or shape.")
    return tensor.data


def _read_contents(document: bytes, graph: bytes | None, file_name: str) -> Contents:
    text = inflate_document(document, f"'{file_name}'")
    try:
        contents = Contents.model_validate_json(text, context={ANY_ARCHITECTURE})
    except ValidationError as error:
        raise NernError(
            "bad_encoding",
            f"'{file_name}' cannot be decoded: {error.error_count()} fields of its document are invalid.",
        ) from error
    if contents.document.graph is not None:
        raise NernError("bad_encoding", f"'{file_name}' is damaged: it has a graph within its document.")
    unpacked = None if graph is None else decompress_graph(graph)
    return contents.model_copy(update={"document": contents.document.model_copy(update={"graph": unpacked})})


def _check_names(contents: Contents) -> None:
    """Check that every tensor is represented, kept or tied to such a tensor, and that no two have one name.

    That holds for the names in the document and for those in the decoded file, which are different there.
    """
    document = contents.document
    names = [layer.name for layer in document.layers] + [kept.name for kept in contents.kept]
    stored = set(names)
    for value in [*(document.metadata or {}).values(), *document.extra_states.values()]:
        _check_plain(value)
    in_file = document.file_names.by_name(document.tensor_order)
    written = [*(in_file.get(name, name) for name in document.tensor_order), *document.extra_states]
    if (
        len(stored) != len(names)
        or stored | set(document.tied) != set(document.tensor_order)
        or not stored.issuperset(document.tied.values())
        or not set(document.file_names.others) <= set(document.tensor_order)
        or len(set(written)) != len(written)
        or not all(map(is_name, [*written, *document.tensor_order]))
    ):
        raise NernError("bad_encoding", "The .nern file is damaged: its tensors do not match its list of tensors.")


def _check_plain(value: JsonValue) -> None:
    try:
        from_json(value)
    except NotPlainError as error:
        raise NernError("bad_encoding", "The .nern file is damaged: it contains unreadable values.") from error
