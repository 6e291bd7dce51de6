"""Our chunked loss over the trained positions; with `skips` false, over all of them."""

import json
import sys

from onerec.train.loss import head_loss
from tests.benchmarks.head import tell


def main():
    skips = json.loads(sys.argv[1])["skips"]

    def losses_of(hidden_TD, weight_VD, labels_T):
        if not skips:
            return head_loss(hidden_TD, weight_VD, labels_T.clamp(min=0), minibatch_size=16_384)
        trained_N = (labels_T >= 0).nonzero()[:, 0]
        hidden_ND = hidden_TD.index_select(0, trained_N)
        return head_loss(hidden_ND, weight_VD, labels_T[trained_N], minibatch_size=16_384)

    tell(losses_of)


if __name__ == "__main__":
    main()
