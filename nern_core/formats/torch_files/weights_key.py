"""Find the dict in a checkpoint that holds the weights, and its key.

A dict with a tensor of two or more dimensions holds weights. If there are several, the one under a usual key such as
`model` is used if it is the only such one, and plain weights rather than averages of them (EMA). Otherwise the user
must choose by the option `key`: a dotted path, or a prefix of the names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.torch_files.descriptions import LeftBehind, StoredTensor, UnreadableTensor

_USUAL_KEYS: Final = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "module", "params"),
)
_OPTIMIZER = "param_groups"
_DEEPEST = 8
_MOST_DICTS = 10_000
_MOST_NAMED = 6
# Tensors beside the weights are not mentioned up to this share of the weights' bytes.
_SMALL_SHARE = 0.25

Described = dict[object, object]


@dataclass(frozen=True, slots=True)
class Weights:
    """The dict with the weights, the prefix of their names, and notes on why it was selected."""

    mapping: Described
    prefix: str = ""
    notes: tuple[str, ...] = ()


def find_weights(root: Described, key: str | None = None) -> Weights:
    """Find the weights under `key`, or the only ones.

    Raises `NernError` (`ambiguous_checkpoint`, `unknown_weights`).
    """
    if key is not None:
        return _under(root, key)
    if _is_state_dict(root):
        return Weights(root, notes=tuple(_explain_root(root)))
    candidates = _candidates(root)
    if not candidates:
        return Weights(_with_any_tensor(root))
    taken = _choose(candidates)
    if taken is None:
        raise NernError(
            "ambiguous_checkpoint",
            f"The checkpoint holds several state dicts, under {_listed(candidates)}; choose one with the option `key`, "
            f"such as {quoted(next(iter(candidates)))}.",
        )
    return Weights(candidates[taken], notes=tuple(_explain(taken, root, candidates)))


def weights_expression(root: object, loaded: str) -> str | None:
    """Return Python that extracts the weights from the object `loaded`; None if they are not found."""
    if isinstance(root, LeftBehind):
        return f"{loaded}.state_dict()"
    if not isinstance(root, dict):
        return None
    if _is_state_dict(root):
        return f"{{n: t for n, t in {loaded}.items() if torch.is_tensor(t)}}"
    candidates = _candidates(root)
    if candidates:
        taken = _choose(candidates) or next(iter(candidates))
        return loaded + "".join(f"[{quoted(part)}]" for part in taken.split("."))
    module = module_key(root)
    return None if module is None else f"{loaded}[{quoted(module)}].state_dict()"


def module_key(root: Described) -> str | None:
    """Return the usual key of an object such as a whole module; None if there is none."""
    return next((key for key in _USUAL_KEYS if isinstance(root.get(key), LeftBehind)), None)


def _under(root: Described, key: str) -> Weights:
    """Follow a dotted path as far as it leads through dicts; the rest is a prefix of names."""
    mapping, rest = root, key
    while (found := _step(mapping, rest)) is not None:
        mapping, step = found
        rest = rest[len(step) + 1 :]
    prefix = f"{rest}." if rest else ""
    if any(name.startswith(prefix) for name in _tensor_names(mapping)):
        return Weights(mapping, prefix)
    inside = {} if rest else _candidates(mapping)
    if len(inside) == 1:
        return Weights(next(iter(inside.values())))
    raise _unknown_key(key, {f"{key}.{path}": found for path, found in inside.items()} or _candidates(root))


def _step(mapping: Described, path: str) -> tuple[Described, str] | None:
    """Return the dict under the longest part of the path, from its start to a dot or its end, and that part."""
    parts = path.split(".") if path else []
    for count in range(len(parts), 0, -1):
        step = ".".join(parts[:count])
        inner = mapping.get(step)
        if isinstance(inner, dict):
            return inner, step
    return None


def _unknown_key(key: str, candidates: Mapping[str, object]) -> NernError:
    where = f"they are under {_listed(candidates)}" if candidates else "omit `key`"
    return NernError("unknown_weights", f"The checkpoint has no weights under the key {quoted(key)}; {where}.")


def _is_state_dict(root: Described) -> bool:
    """Return True if the outermost dict holds the weights itself."""
    inner = [root.get(key) for key in _USUAL_KEYS]
    wrapped = any(_tensor_names(mapping) for mapping in inner if isinstance(mapping, dict))
    return not wrapped and _holds_weights(root)


def _candidates(root: Described) -> dict[str, Described]:
    """Find the inner dicts with weights, by their paths. Those within another one or in an optimizer are skipped."""
    found: dict[str, Described] = {}
    seen = {id(root)}
    level = [("", root)]
    for _ in range(_DEEPEST):
        deeper: list[tuple[str, Described]] = []
        for path, mapping in level:
            for key, inner in mapping.items():
                if not isinstance(key, str) or not isinstance(inner, dict) or id(inner) in seen:
                    continue
                seen.add(id(inner))
                if len(seen) > _MOST_DICTS:
                    return found
                if _holds_weights(inner):
                    found[f"{path}{key}"] = inner
                elif _OPTIMIZER not in inner:
                    deeper.append((f"{path}{key}.", inner))
        level = deeper
    return found


def _with_any_tensor(root: Described) -> Described:
    """Return the dict under a usual key that has tensors of fewer dimensions, or else the outermost one."""
    seen: set[int] = set()
    mapping = root
    while id(mapping) not in seen:
        seen.add(id(mapping))
        inner = next((mapping[key] for key in _USUAL_KEYS if isinstance(mapping.get(key), dict)), None)
        if isinstance(inner, dict) and (_tensor_names(inner) or not _tensor_names(mapping)):
            mapping = inner
    return mapping if _tensor_names(mapping) else root


def _choose(candidates: Mapping[str, Described]) -> str | None:
    """Return the path of the weights to use; None if the user must choose."""
    if len(candidates) == 1:
        return next(iter(candidates))
    plain = [path for path in candidates if not _is_average(path)]
    usual = [path for path in plain if path.rpartition(".")[2] in _USUAL_KEYS]
    for paths in (plain, usual):
        if len(paths) == 1:
            return paths[0]
    return None


def _is_average(path: str) -> bool:
    """Return True if a path names an exponential moving average, such as `model_ema`."""
    return "ema" in path.lower().replace(".", "_").split("_")


def _explain(taken: str, root: Described, candidates: Mapping[str, Described]) -> Iterator[str]:
    """Yield sentences on which weights were used, and on other tensors in the file if they are large."""
    weights = candidates[taken]
    others = {path: found for path, found in candidates.items() if path != taken}
    left_out = {path: size for path, size in _left_out(root, weights, taken).items() if path not in others}
    is_large = sum(left_out.values()) > _SMALL_SHARE * _tensor_bytes(weights, set())
    if others:
        not_taken = f"not those under {_listed(others)}; the option `key` chooses others"
        yield f"The weights under {quoted(taken)} were used, {not_taken}."
    elif taken not in _USUAL_KEYS or is_large:
        yield f"The weights under {quoted(taken)} were used."
    if is_large:
        yield _describe_left_out(left_out)


def _explain_root(root: Described) -> Iterator[str]:
    """Yield a sentence on other tensors beside the weights, which are the outermost dict, if they are large."""
    left_out = _left_out(root, root, "")
    if sum(left_out.values()) > _SMALL_SHARE * sum(_tensor_bytes(root[name], set()) for name in _tensor_names(root)):
        yield _describe_left_out(left_out)


def _describe_left_out(sizes: Mapping[str, int]) -> str:
    largest_first = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    return f"{sum(sizes.values()):,} bytes of other tensors are left out, under {_listed(largest_first)}."


def _left_out(root: Described, weights: Described, taken: str, above: str = "") -> dict[str, int]:
    """Return the bytes of tensors outside of the weights, which are at the path `taken`, by their path."""
    found: dict[str, int] = {}
    seen = {id(weights)}
    for key, value in root.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and value is not weights and taken.startswith(f"{path}."):
            found |= _left_out(value, weights, taken, f"{path}.")
        elif not (root is weights and isinstance(value, StoredTensor)) and (size := _tensor_bytes(value, seen)):
            found[path] = size
    return found


def _tensor_bytes(value: object, seen: set[int]) -> int:
    """Return the bytes of all tensors in nested dicts and lists; each of these counts once."""
    total, rest = 0, [value]
    while rest:
        inner = rest.pop()
        if isinstance(inner, StoredTensor):
            total += inner.claim.logical_bytes
        elif isinstance(inner, dict | list | tuple) and id(inner) not in seen:
            seen.add(id(inner))
            rest += inner.values() if isinstance(inner, dict) else inner
    return total


def _listed(paths: Mapping[str, object]) -> str:
    named = ", ".join(quoted(path) for path in list(paths)[:_MOST_NAMED])
    return named if len(paths) <= _MOST_NAMED else f"{named} and {len(paths) - _MOST_NAMED} others"


def _holds_weights(mapping: Described) -> bool:
    return any(
        isinstance(value, UnreadableTensor) or (isinstance(value, StoredTensor) and len(value.claim.shape) > 1)
        for name, value in mapping.items()
        if isinstance(name, str)
    )


def _tensor_names(mapping: Described) -> list[str]:
    return [
        name
        for name, value in mapping.items()
        if isinstance(name, str) and isinstance(value, StoredTensor | UnreadableTensor)
    ]
