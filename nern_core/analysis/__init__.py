"""Reports about encodings, and comparisons with other methods."""
