"""The hostile corpus: files that attackers could send, each with the expected outcome.

python -m tests.hostile.corpus FOLDER writes them all, and `index.json` with the expected outcomes.
"""

import dataclasses
import json
import sys
from pathlib import Path

from tests.hostile import archives, headers, onnx_files, pickles
from tests.hostile.forge import HostileFile


def corpus(canary: Path) -> list[HostileFile]:
    """Return all files; none of them may ever create the file `canary`."""
    return [
        *pickles.code(canary),
        *pickles.memory(),
        *pickles.shapes(),
        *pickles.kinds(),
        *pickles.structures(),
        *pickles.values(),
        *archives.zips(canary),
        *archives.legacy_files(),
        *archives.other_formats(canary),
        *headers.headers(),
        *onnx_files.models(),
    ]


def main(folder: Path) -> None:
    """Write the corpus into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for file in corpus(folder / "canary"):
        (folder / file.name).write_bytes(file.content)
        index.append(
            {field.name: getattr(file, field.name) for field in dataclasses.fields(file) if field.name != "made"}
        )
    (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
