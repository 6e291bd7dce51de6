"""Hit rates in training, for real: the figures of a brute-force scorer, and an undisturbed training."""

import json
import math
import multiprocessing
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from onerec.build.rows import Row, write_rows
from onerec.checkpoint import commit
from onerec.checkpoint.best import Best, read_best
from onerec.config import Dataset, PrepareConfig, TrainConfig
from onerec.data.preparation.prepare import prepare
from onerec.data.source.read import rows as read_rows
from onerec.distributed import environment, process_group, read_world
from onerec.errors import ConfigError, DataError
from onerec.items.trie import Trie
from onerec.model.build import read_vocab
from onerec.train.hit_rate import chunked, open_hit_rate
from onerec.train.item_search import ItemSearch
from onerec.train.questions import Question, draw_rows
from onerec.train.session import open_session
from onerec.vocab import ItemicVocab, item_text
from tests import tiny
from tests.train.ranks import wait_for_all

K, EVERY_ITEM = 20, 300
EPOCHS = 8
FIGURES = ("step", "hit_rate", "ndcg", "valid_id_rate", "questions", "k")


def all_codes():
    """More than half of what the tiny vocabulary can say, so that some likeliest answers are items."""
    chosen = np.random.default_rng(1).choice(512, size=300, replace=False)
    return np.stack(np.unravel_index(np.sort(chosen), (8, 8, 8)), axis=1)


def missing_codes():
    """An id that the vocabulary can say and that is no item's."""
    known = set(map(tuple, all_codes().tolist()))
    return next(codes for codes in np.ndindex(8, 8, 8) if codes not in known)


def write_map(path, codes):
    table = pa.table(
        {"pid": [f"item-{i}" for i in range(len(codes))], "sid": [row.tolist() for row in codes]}
    )
    pq.write_table(table.replace_schema_metadata({b"onerec": b'{"question": "What next? {history}"}'}), path)


def question_rows(codes, count=16):
    """Questions that are answered by items of the map, as build_data writes them."""
    pick = np.random.default_rng(2)
    for number in range(count):
        history = "".join(item_text(tuple(codes[i])) for i in pick.integers(len(codes), size=3))
        question = {"role": "user", "content": f"after {history}"}
        answer = {"role": "assistant", "content": item_text(tuple(codes[pick.integers(len(codes))]))}
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
        yield Row(name, "next_item", {"user": number}, messages=(question, answer))


@pytest.fixture(scope="module")
def asked(tiny_programme, tmp_path_factory):
    """A folder with an item map and questions, and a store of these: what trains on them can answer."""
    folder = tmp_path_factory.mktemp("asked")
    write_map(folder / "items.parquet", all_codes())
    write_rows(question_rows(all_codes()), folder / "validation")
    prepare(
        PrepareConfig(
            output_dir=str(folder / "store"),
            tokenizer_dir=str(tiny_programme / "expanded" / "model"),
            sources=(str(folder / "validation"),),
            dataset=Dataset(sources="data", max_length=tiny.MAX_LENGTH, num_processes=1),
            vocab=tiny.VOCAB,
        )
    )
    return folder


def config_of(programme, asked, output_dir, *, asks=True, **changes):
    """A stage that trains on the questions, and is asked them unless `asks` is false."""
    data = {"datasets": [{"name": "asked", "store_dir": str(asked / "store")}], "num_epochs": EPOCHS}
    asking = {"hit_rate_dir": str(asked / "validation"), "item_map": str(asked / "items.parquet")}
    config = tiny.train_config(
        programme,
        output_dir,
        data=data,
        optim={"num_training_steps": 100},
        validating={"hit_rate_per_step": 15, "hit_rate_beams": K},
        **(asking if asks else {}),
    )
    return config | {
        name: config[name] | value if isinstance(value, dict) else value for name, value in changes.items()
    }


def rows_of(config):
    path = Path(config["output_dir"]) / "hit_rate.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(rows):
    return [{key: row[key] for key in FIGURES} for row in rows]


@pytest.fixture(scope="module")
def whole(tiny_programme, asked, tmp_path_factory):
    """A stage of one process that is asked after every fifteenth step."""
    config = config_of(tiny_programme, asked, tmp_path_factory.mktemp("whole") / "stage")
    told = tiny.run(config)
    return config, told.stdout


@pytest.fixture(scope="module")
def model(whole, tiny_programme):
    """The exported model of its last step."""
    folder = tiny.export(whole[0], tiny_programme)
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(
        folder
    )


def brute_force(model, tokenizer, asked):
    """Rank of each answer when every item is scored by itself, and whether the greedy answer is an item."""
    texts = [item_text(tuple(codes)) for codes in all_codes()]
    ids_of = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts}
    ranks, valid = [], []
    for row in read_rows(str(asked / "validation")):
        answer = row.messages[-1]
        turns = [{"role": turn.role, "content": turn.content} for turn in row.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        text = text[: text.rindex(answer.content)]
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        batch = torch.tensor([prompt + ids_of[text] for text in texts])
        with torch.no_grad():
            log_probs = model(input_ids=batch).logits.double().log_softmax(-1)
        at = torch.arange(len(prompt), len(prompt) + 3)
        scores = log_probs[:, at].gather(2, batch[:, at + 1, None]).sum((1, 2))
        ranks.append(1 + int((scores > scores[texts.index(answer.content)]).sum()))
        said = list(prompt)
        for _ in range(5):
            with torch.no_grad():
                said.append(int(model(input_ids=torch.tensor([said])).logits[0, -1].argmax()))
        valid.append(said[len(prompt) :] in ids_of.values())
    return ranks, valid


@pytest.fixture(scope="module")
def measured(whole, tiny_programme, asked, tmp_path_factory):
    """Rows that a stage resumed at its last step measures, by one program: of each number of ranks, ..."""
    folder = tmp_path_factory.mktemp("measured")
    exact = config_of(tiny_programme, asked, Path(whole[0]["output_dir"]))
    exact["validating"]["hit_rate_beams"] = EVERY_ITEM
    cases = {"1": whole[0], "2": whole[0], "3": whole[0], "exact": exact, "padded": whole[0]}
    (folder / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.test_hit_rate", str(folder / "cases.json")],
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return {name: figures([json.loads((folder / f"{name}.json").read_text())])[0] for name in cases}


def test_the_figures_are_those_of_a_scorer_that_scores_every_item(measured, model, asked):
    """With as many beams as there are items the search is exact, and every place of the list is compared."""
    ranks, valid = brute_force(*model, asked)
    assert measured["exact"]["hit_rate"] == 1.0
    expected = np.mean([1 / math.log2(1 + rank) for rank in ranks])
    assert measured["exact"]["ndcg"] == pytest.approx(expected, abs=1e-12)
    assert measured["exact"]["valid_id_rate"] == np.mean(valid) > 0
    assert len(set(ranks)) > 5, "the model tells items apart"


def test_any_number_of_ranks_measures_the_same_bits(measured, whole):
    assert measured["1"] == measured["2"] == measured["3"] == figures(rows_of(whole[0]))[-1]
    assert 0 < measured["1"]["hit_rate"] < 1


def test_padded_packs_give_the_same_figures(measured):
    """As on CUDA, where shapes must not change."""
    assert measured["padded"] == measured["1"]


def test_a_stage_tells_its_hit_rate_everywhere(whole):
    config, told = whole
    rows, last = rows_of(config), tiny.metrics(config)[-1]["step"]
    assert [row["step"] for row in rows] == sorted({*range(15, last + 1, 15), last})
    assert {(row["questions"], row["k"]) for row in rows} == {(16, K)}
    result = json.loads((Path(config["output_dir"]) / "result.json").read_text())
    assert result["hit_rate"] == rows[-1]
    best = max(rows, key=lambda row: (row["ndcg"], -row["step"]))
    assert result["best"] == {key: best[key] for key in FIGURES}
    assert f"hit rate@{K} {rows[0]['hit_rate']:.4f}, NDCG@{K} {rows[0]['ndcg']:.4f}" in told


def test_asking_changes_nothing_of_the_training(whole, tiny_programme, asked, tmp_path):
    """Saved at the steps at which it is asked: gathered weights must not reach a checkpoint."""
    silent = config_of(tiny_programme, asked, tmp_path / "stage", asks=False)
    tiny.run(silent)
    assert tiny.curve(silent) == tiny.curve(whole[0])
    assert not (tmp_path / "stage" / "hit_rate.jsonl").exists()
    assert not (tmp_path / "stage" / "best.json").exists()
    for step in commit.complete_steps(Path(silent["output_dir"])):
        assert tensors(silent, step) == tensors(whole[0], step)


def tensors(config, step):
    """The bytes of a checkpoint's tensors, by file."""
    folder = Path(config["output_dir"]) / f"step{step}" / f"global_step{step}"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.distcp"))}


VOCAB = ItemicVocab(2, 3, first_id=10)  # level a is 10 to 12, level b 13 to 15, begin 16, end 17
ITEMS = np.array([[0, 0], [0, 1], [1, 2], [2, 0]])


def next_token(document, table):
    """Log-probabilities that a table tells for what stands after the begin token; the rest is unlikely."""
    log_probs = torch.full((18,), -50.0)
    after = document[document.index(16) + 1 :] if 16 in document else ("begin",)
    for token, value in table[after].items():
        log_probs[token] = math.log(value)
    return log_probs


def search(questions, table, *, width):
    """All turns of a search over a model that is a table; the documents of each."""
    found = ItemSearch(questions, trie=Trie.of(ITEMS), vocab=VOCAB, width=width)
    seen = []
    for _ in range(found.num_turns):
        documents = found.documents()
        seen.append(documents)
        if not documents:
            continue
        ends = [[ids[: len(ids) - back] for back in range(found.looks - 1, -1, -1)] for ids in documents]
        told = torch.stack([torch.stack([next_token(ids, table) for ids in some]) for some in ends])
        found.take(told[..., list(found.ids)], told.argmax(-1))
    return found, seen


TABLE = {
    ("begin",): {16: 0.9},
    (): {10: 0.5, 11: 0.4, 12: 0.05},
    (10,): {13: 0.2, 14: 0.3, 15: 0.5},
    (11,): {15: 0.9, 13: 0.1},
    (12,): {13: 1.0},
    (10, 15): {17: 1.0},
    (11, 15): {17: 0.9},
}


def test_ranks_are_those_of_a_search_by_hand():
    """Item 2 has 0.4 x 0.9 = 0.36, item 1 has 0.15, item 0 has 0.1, item 3 has 0.05 and is fourth."""
    questions = [Question((1, 16), target) for target in (0, 1, 2, 3)]
    found, _ = search(questions, TABLE, width=3)
    assert found.ranks == [3, 2, 1, 0]
    narrow, seen = search(questions, TABLE, width=2)
    assert narrow.ranks == [0, 2, 1, 0]
    # the question about item 3 is not asked any further once its first code is not among the beams
    assert [len(documents) for documents in seen] == [4, 7, 0]


def test_the_likeliest_answer_must_begin_be_an_item_and_end():
    """Its likeliest codes are 0 and 2, which is no item; without that, it is item 2 that is said whole."""
    question = [Question((1, 16), 2)]
    assert search(question, TABLE, width=1)[0].is_valid == [False]
    other = {**TABLE, (): {11: 0.9}}
    assert search(question, other, width=1)[0].is_valid == [True]
    assert search(question, {**other, (11, 15): {3: 1.0}}, width=1)[0].is_valid == [False]
    assert search(question, {**other, ("begin",): {3: 1.0}}, width=1)[0].is_valid == [False]


def test_documents_are_packed_in_order_up_to_the_length_of_a_pack():
    assert chunked([4, 4, 3, 9, 1], most=8) == [[0, 1], [2], [3], [4]]
    assert chunked([1, 1, 1], most=8, count=2) == [[0, 1], [2]]


def test_the_same_rows_are_drawn_in_every_attempt_and_others_by_another_seed(asked):
    folder = str(asked / "validation")
    users = [[row.metadata["user"] for row in draw_rows(folder, most=5, seed=seed)] for seed in (1, 1, 2)]
    assert users[0] == users[1] == sorted(users[0])
    assert len(set(users[0])) == 5
    assert users[2] != users[0]
    assert len(draw_rows(folder, most=99, seed=1)) == 16


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"messages": ({"role": "user", "content": "what"}, {"role": "assistant", "content": "a film"})},
            "no item",
        ),
        (
            {
                "messages": (
                    {"role": "user", "content": "what"},
                    {"role": "assistant", "content": "<|sid_begin|><s_a_1><|sid_end|>"},
                )
            },
            "not whole",
        ),
        (
            {
                "messages": (
                    {"role": "user", "content": "what"},
                    {"role": "assistant", "content": item_text(missing_codes())},
                )
            },
            f"{item_text(missing_codes())} is no item of the map",
        ),
    ],
)
def test_a_row_that_no_item_answers_is_told_with_its_place(tiny_programme, asked, tmp_path, row, fault):
    write_rows([Row(str(uuid.uuid4()), "next_item", {}, **row)], tmp_path / "rows")
    with pytest.raises(DataError, match=r"row 0: .*" + fault.replace("|", r"\|")):
        opened(tiny_programme, asked, tmp_path, hit_rate_dir=str(tmp_path / "rows"))


def opened(programme, asked, tmp_path, **changes):
    config = TrainConfig.model_validate_json(
        json.dumps(config_of(programme, asked, tmp_path / "stage", **changes))
    )
    vocab = read_vocab(Path(config.model.model_dir), config.vocab)
    return open_hit_rate(config, world=read_world({}), vocab=vocab, pad_to=None)


def test_a_question_that_is_longer_than_a_pack_is_refused_with_the_remedy(tiny_programme, asked, tmp_path):
    with pytest.raises(ConfigError, match="only 20; raise max_length"):
        opened(tiny_programme, asked, tmp_path, data={"max_length": 20})


def test_questions_are_rendered_with_the_think_pattern_when_the_stage_is(tiny_programme, asked, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_programme / "expanded" / "model")
    plain = opened(tiny_programme, asked, tmp_path).questions[0]
    thinking = opened(tiny_programme, asked, tmp_path, add_think_pattern=True).questions[0]
    assert tokenizer.decode(plain.prompt).endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n<|sid_begin|>"
    )
    told = tokenizer.decode(thinking.prompt)
    assert told.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n<|sid_begin|>")
    assert "/no_think<|im_end|>" in told


def test_a_map_of_another_vocabulary_is_refused(tiny_programme, asked, tmp_path):
    write_map(tmp_path / "items.parquet", np.array([[1, 2, 8], [0, 0, 0]]))
    with pytest.raises(DataError, match="1 items have codes outside 8"):
        opened(tiny_programme, asked, tmp_path, item_map=str(tmp_path / "items.parquet"))


def test_the_best_step_is_in_best_json(whole):
    config, _ = whole
    best = max(rows_of(config), key=lambda row: (row["ndcg"], -row["step"]))
    assert read_best(Path(config["output_dir"])) == Best(**{key: best[key] for key in FIGURES})


def main(path):
    """Measure every case of a file, each on forks of this process."""
    fork = multiprocessing.get_context("fork")
    for name, config in json.loads(path.read_text()).items():
        size = int(name) if name.isdigit() else 1
        started = [
            fork.Process(target=measure, args=(rank, size, name, config, path.parent)) for rank in range(size)
        ]
        for process in started:
            process.start()
        wait_for_all(started)


def measure(rank, size, name, config, folder):
    """One rank's life, as mpirun would start it."""
    told = {"RANK": rank, "SIZE": size, "LOCAL_RANK": rank, "LOCAL_SIZE": size}
    os.environ.update({f"OMPI_COMM_WORLD_{key}": str(value) for key, value in told.items()})
    os.environ["RUNNER_RENDEZVOUS"] = str(folder / f"rendezvous-{name}.json")
    world, device = read_world(environment()), torch.device("cpu")
    with process_group(world, device=device, env=environment()):
        session = open_session(
            TrainConfig.model_validate_json(json.dumps(config)), world=world, device=device
        )
        pad_to = tiny.MAX_LENGTH if name == "padded" else None
        hit_rate = replace(session.hit_rate, pad_to=pad_to)
        row = hit_rate.measure(session.model, device=device, step=session.start.step)
        if world.is_main:
            (folder / f"{name}.json").write_text(json.dumps(row))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
