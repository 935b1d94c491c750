"""The tokeniser of all-MiniLM-L6-v2, apart from the model: where programs were compiled ahead, nothing needs JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

LONGEST = 256
"""Word pieces per string, with [CLS] and [SEP]: `max_seq_length` of the published sentence_bert_config.json."""

STEP = 32
"""Lengths are padded up to a multiple of this, so that there are eight programs per batch size and not 254.
Padding is masked to exact zeros; it may only move sums by rounding."""


def prepare(weights: Mapping[str, Path]) -> Callable[[Mapping[str, Sequence[str]]], dict[str, np.ndarray]]:
    """The tokeniser: `text` to `ids` and `mask`, both int32 [batch, length]."""
    from tokenizers import Tokenizer  # noqa: PLC0415  # only needed where strings come in

    tokenizer = Tokenizer.from_file(str(weights["tokenizer"]))
    # The file asks for 128 pieces, always padded to 128; sentence-transformers overrules both.
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding(pad_to_multiple_of=STEP)

    def tokenise(inputs: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        encodings = tokenizer.encode_batch(list(inputs["text"]))
        length = len(encodings[0].ids) if encodings else STEP
        shape = (len(encodings), length)
        return {
            "ids": np.array([encoding.ids for encoding in encodings], np.int32).reshape(shape),
            "mask": np.array([encoding.attention_mask for encoding in encodings], np.int32).reshape(shape),
        }

    return tokenise
