"""Tokenise the rows of a corpus in one way; seconds, and a digest of the ids.

`ours` on two cores is two processes with half of the rows each. As in preparation, samples stay in
the process that made them, which would store them.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

ROWS_AT_ONCE = 256


def main():
    given = json.loads(sys.argv[1])
    both = given["cores"] > 1
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if both and given["way"] != "ours" else "false"
    os.environ["RAYON_NUM_THREADS"] = str(given["cores"])
    rows = read_rows(given["corpus"])
    way = {
        "ours": ours_in_processes if both else ours,
        "per_sample": per_sample,
        "encode_batch": encode_batch,
    }
    seconds, ids = way[given["way"]](rows, given["tokenizer"])
    print(json.dumps({"seconds": seconds, "ids": digest(ids)}))


def read_rows(corpus):
    from onerec.data.source.read import records
    from onerec.data.source.validate import row_from

    files = sorted(Path(corpus).glob("*.parquet"))
    return [row_from(record) for file in files for record in records(str(file))]


def digest(ids):
    import numpy as np

    hashed = hashlib.sha256()
    for some in ids:
        hashed.update(np.asarray(some, np.int32).tobytes() + b"end")
    return hashed.hexdigest()


def ours(rows, tokenizer):
    from onerec.data.text.render import Renderer

    renderer = Renderer(tokenizer)
    began = time.perf_counter()
    samples = _rendered(renderer, rows)
    return time.perf_counter() - began, [sample.input_ids[:-1] for sample in samples]


def _rendered(renderer, rows):
    groups = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    return [sample for group in groups for sample in renderer.render_many(group)]


def ours_in_processes(rows, tokenizer):
    context = multiprocessing.get_context(
        "fork"
    )  # the rows are there already, as in a process that has read them
    half = len(rows) // 2
    links = []
    for share in (rows[:half], rows[half:]):
        here, there = context.Pipe()
        context.Process(target=_work, args=(there, share, tokenizer), daemon=True).start()
        links.append(here)
    for link in links:
        link.recv()
    began = time.perf_counter()
    for link in links:
        link.send("go")
    for link in links:
        link.recv()
    seconds = time.perf_counter() - began
    return seconds, [ids for link in links for ids in link.recv()]


def _work(link, rows, tokenizer):
    from onerec.data.text.render import Renderer

    renderer = Renderer(tokenizer)
    link.send("ready")
    link.recv()
    samples = _rendered(renderer, rows)
    link.send("done")
    link.send([sample.input_ids[:-1] for sample in samples])


def per_sample(rows, tokenizer):
    from onerec.data.text.tokenizer import load_tokenizer

    loaded = load_tokenizer(Path(tokenizer))
    began = time.perf_counter()
    ids = [loaded(_text(loaded, row), add_special_tokens=False)["input_ids"] for row in rows]
    return time.perf_counter() - began, ids


def encode_batch(rows, tokenizer):
    from onerec.data.text.tokenizer import load_tokenizer

    loaded = load_tokenizer(Path(tokenizer))
    texts = [_text(loaded, row) for row in rows]
    began = time.perf_counter()
    ids = [one.ids for one in loaded.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    return time.perf_counter() - began, ids


def _text(tokenizer, row):
    if row.messages is None:
        return "".join(row.segments)
    turns = [{"role": message.role, "content": message.content} for message in row.messages]
    return tokenizer.apply_chat_template(turns, tokenize=False)


if __name__ == "__main__":
    main()
