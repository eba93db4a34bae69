"""The contract with every other package: options, progress, metrics, errors and the catalogue. Torch-free."""
