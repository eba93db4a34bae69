"""The `nern` command: encode, reconstruct, evaluate and inspect files, and serve the API."""
