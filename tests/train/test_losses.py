"""Losses and counts by source: sums that nobody waits for, and one reduction that makes them global."""

import json
import multiprocessing

import pytest
import torch
import torch.distributed as dist

from onerec.train.losses import Losses, LossTable, SourceCounts, mean_losses

SOURCES = ("a", "b", "idle")
CPU = torch.device("cpu")

# of each rank: packs, which are losses, cells (2 x source + is itemic), trained and read by source
RANKS = (
    (
        ([1.0, 2.0], [0, 1], [[1, 1], [0, 0], [0, 0]], [[10, 2], [0, 0], [0, 0]]),
        ([4.0], [1], [[0, 1], [0, 0], [0, 0]], [[3, 1], [0, 0], [0, 0]]),
    ),
    (([9.0, 3.0, 5.0], [1, 2, 2], [[0, 1], [2, 0], [0, 0]], [[5, 1], [7, 1], [0, 0]]),),
)


def add(pack, table, counts):
    losses, cells, trained, read = pack
    table.add(torch.tensor(losses), torch.tensor(cells), torch.tensor(trained))
    counts.add(torch.tensor(read))


def run_rank(rank, folder):
    """A process of the group: adds its packs up, reduces, counts on; writes down what it came to."""
    store = dist.FileStore(str(folder / "store"), len(RANKS))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=len(RANKS))
    table, counts = LossTable(3, device=CPU), SourceCounts(SOURCES, saved={"a": [100, 10], "gone": [1, 1]})
    for pack in RANKS[rank]:
        add(pack, table, counts)
    reductions, all_reduce = [], dist.all_reduce
    dist.all_reduce = lambda *args, **keys: (reductions.append(1), all_reduce(*args, **keys))
    losses = mean_losses(table, sources=SOURCES, counts=counts)
    told = {"losses": vars(losses), "totals": counts.totals(), "reductions": len(reductions)}
    add(RANKS[rank][0], LossTable(3, device=CPU), counts)
    told |= {"not reduced": counts.totals(), "state": counts.state_dict(), "totals later": counts.totals()}
    (folder / f"{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of two real gloo ranks has after the reduction."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=run_rank, args=(rank, folder)) for rank in range(len(RANKS))]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(len(RANKS))]


def test_means_are_over_the_tokens_of_all_ranks_not_over_ranks_or_packs(told):
    by_source = {"a": (1 + 2 + 4 + 9) / 4, "b": (3 + 5) / 2}
    itemic, text = (2 + 4 + 9) / 3, (1 + 3 + 5) / 3
    wanted = Losses(24 / 6, itemic=itemic, text=text, by_source=by_source, trained_tokens=6)
    assert [rank["losses"] for rank in told] == [vars(wanted)] * 2


def test_losses_and_counts_are_added_up_in_one_reduction(told):
    assert [rank["reductions"] for rank in told] == [1, 1]
    totals = {"a": [100 + 10 + 3 + 5, 10 + 2 + 1 + 1], "b": [7, 1], "idle": [0, 0]}
    assert [rank["totals"] for rank in told] == [totals] * 2


def test_a_checkpoint_has_what_was_read_since_the_last_reduction_too(told):
    before, after = {"a": [118, 14], "b": [7, 1]}, {"a": [118 + 15, 14 + 3], "b": [14, 2]}
    assert [rank["not reduced"] for rank in told] == [before | {"idle": [0, 0]}] * 2
    assert [rank["state"] for rank in told] == [after | {"idle": [0, 0]}] * 2
    assert [rank["totals later"] for rank in told] == [rank["state"] for rank in told]


def test_adding_reads_nothing_back_from_the_device():
    """Tensors on the meta device have no values: .item(), .cpu() and .tolist() of them fail."""
    table = LossTable(3, device=torch.device("meta"))
    losses, cells, trained, _ = RANKS[0][0]
    table.add(torch.tensor(losses, device="meta"), torch.tensor(cells), torch.tensor(trained))
    assert table.counts_S2.tolist() == trained
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        table.losses_S2.cpu()


def test_sums_are_exact_where_fp32_would_drop_small_losses():
    table = LossTable(1, device=CPU)
    table.add(torch.tensor([2.0**24]), torch.tensor([1]), torch.tensor([[0, 1]]))
    for _ in range(3):
        table.add(torch.tensor([1.0]), torch.tensor([1]), torch.tensor([[0, 1]]))
    assert table.losses_S2.tolist() == [[0.0, 2.0**24 + 3]]


@pytest.fixture
def alone():
    """A process group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_step_in_which_nothing_is_trained_has_no_means(alone):
    table = LossTable(3, device=CPU)
    table.add(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.zeros((3, 2), dtype=torch.int64))
    assert mean_losses(table, sources=SOURCES) == Losses(
        0.0, itemic=None, text=None, by_source={}, trained_tokens=0
    )
