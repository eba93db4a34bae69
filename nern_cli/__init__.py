"""The `nern` command: encode, reconstruct, evaluate and inspect files, and serve the API."""

import time

# Before anything else is loaded, which takes seconds.
FIRST_IMPORT = time.perf_counter()
