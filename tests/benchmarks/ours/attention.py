"""Our attention over documents, given their borders."""

import itertools

import torch

from onerec.model.attention import document_attention
from tests.benchmarks.documents import tell


def prepare(lengths):
    borders = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)

    def attend(query, key, value):
        out, _ = document_attention(
            None, query, key, value, None, cu_seqlens=borders, max_seqlen=max(lengths)
        )
        return out

    return attend


if __name__ == "__main__":
    tell(prepare)
