"""transformers' sdpa attention, with the block mask that it makes of packed position_ids."""

import torch
from transformers import Qwen3Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_causal_mask

from tests.benchmarks.documents import KEY_HEADS, QUERY_HEADS, WIDTH, tell


def prepare(lengths):
    config = Qwen3Config(
        num_attention_heads=QUERY_HEADS, num_key_value_heads=KEY_HEADS, head_dim=WIDTH, hidden_size=1024
    )
    config._attn_implementation = "sdpa"
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    mask = create_causal_mask(
        config=config,
        inputs_embeds=torch.empty(1, sum(lengths), 1),
        attention_mask=None,
        past_key_values=None,
        position_ids=positions,
    )
    layer = torch.nn.Module()
    layer.num_key_value_groups, layer.is_causal = QUERY_HEADS // KEY_HEADS, True

    def attend(query, key, value):
        out, _ = sdpa_attention_forward(layer, query, key, value, mask, scaling=WIDTH**-0.5)
        return out

    return attend


if __name__ == "__main__":
    tell(prepare)
