"""The way that everybody writes: load all of a DCP checkpoint, cast the model, save_pretrained."""

import json
import sys
from pathlib import Path


def main():
    given = json.loads(sys.argv[1])
    import torch
    import torch.distributed.checkpoint as dcp
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.benchmarks.peak import of_process

    folder = Path(given["folder"])
    config = AutoConfig.from_pretrained(folder / "model")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    state = {name: torch.empty(one.shape) for name, one in model.named_parameters()}
    dcp.load(state, checkpoint_id=str(next((folder / "stage").glob("step*/global_step*")) / "model"))
    model.load_state_dict(state, assign=True, strict=False)
    model.tie_weights()
    del state
    model.to(torch.bfloat16).save_pretrained(given["output"])
    print(json.dumps(of_process()))


if __name__ == "__main__":
    main()
