"""Networks of transformers, built from the `config.json` of a folder. They need the extra `transformers`.

Only classes of the library itself are built, from the configuration alone: no code of the folder runs, and nothing is
fetched.
"""
