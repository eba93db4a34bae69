"""The catalogue's entry of the toy representation; torch-free, like every entry."""

from nern_core.contract.representations import RepresentationEntry

ENTRY = RepresentationEntry(name="toy", implementation="toy_representation:TOY", phases=())
