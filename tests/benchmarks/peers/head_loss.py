"""`F.linear` + `F.cross_entropy`, or torch 2.13's `linear_cross_entropy` in chunks of a given size.

The latter chooses 16 rows for these shapes, where adding to the weight gradient over and over takes
most of the time. With reduction "sum" it needs three matrix products but tells no losses of positions.
"""

import json
import sys

import torch
from torch.nn import functional

from tests.benchmarks.head import tell


def main():
    given = json.loads(sys.argv[1])

    def plain(hidden_TD, weight_VD, labels_T):
        losses_T = functional.cross_entropy(
            functional.linear(hidden_TD, weight_VD), labels_T, reduction="none"
        )
        return losses_T.sum(), losses_T

    def fused(hidden_TD, weight_VD, labels_T):
        options = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=given["chunk"], acc_policy="compact", acc_dtype=torch.float32
        )
        losses = functional.linear_cross_entropy(
            hidden_TD, weight_VD, labels_T, reduction=given["reduction"], options=options
        )
        return losses.sum(), losses.reshape(-1)

    tell({"plain": plain, "fused": fused}[given["kind"]])


if __name__ == "__main__":
    main()
