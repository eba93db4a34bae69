"""The envelope of a `.nern` file, the same for every representation: document, kept tensors and limits."""
