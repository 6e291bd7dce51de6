import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.errors import DataError
from onerec.evaluate.histories import SCHEMA, histories_of, read_histories, write_histories

ROWS = [
    ("b", [4, 0, 2, 3], 2, 2, 3),
    ("a", [1], 1, None, None),
    ("empty", [], 0, None, None),
    ("c", [3, 1], 1, None, 1),
    ("late", [0, 1, 2, 4], 1, 2, None),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "histories.parquet"
    write_histories(histories_of(ROWS, num_items=5), path)
    return path


def test_what_is_written_is_the_promised_table(path):
    assert pq.read_schema(path).remove_metadata() == SCHEMA
    assert [tuple(row.values()) for row in pq.read_table(path).to_pylist()] == ROWS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_was_written_is_read(path):
    histories = read_histories(path, num_items=5)
    assert histories.uids == ("b", "a", "empty", "c", "late")
    assert [histories.items(user).tolist() for user in range(5)] == [row[1] for row in ROWS]
    assert [histories.train(user).tolist() for user in range(5)] == [[4, 0], [1], [], [3], [0]]
    assert histories.is_trained.tolist() == [place in {0, 1, 4, 5, 7} for place in range(11)]


@pytest.mark.parametrize(
    ("split", "users", "before", "targets"),
    [("validation", [0, 4], [[4, 0], [0, 1]], [2, 2]), ("test", [0, 3], [[4, 0, 2], [3]], [3, 1])],
)
def test_a_target_is_asked_for_from_everything_before_it(path, split, users, before, targets):
    histories = read_histories(path, num_items=5)
    assert histories.targeted_users(split).tolist() == users
    assert [items.tolist() for items in histories.before(split)] == before
    assert histories.targets(split).tolist() == targets


def test_the_training_part_alone_has_no_targets(path):
    histories = read_histories(path, num_items=5).only_train()
    assert [histories.items(user).tolist() for user in range(5)] == [[4, 0], [1], [], [3], [0]]
    assert histories.is_trained.all()
    assert len(histories.targets("validation")) == len(histories.targets("test")) == 0


def test_no_users_at_all(tmp_path):
    write_histories(histories_of([], num_items=5), tmp_path / "none.parquet")
    histories = read_histories(tmp_path / "none.parquet", num_items=5)
    assert histories.num_users == 0
    assert histories.before("test") == []


def test_numbers_and_types_survive_several_row_groups(tmp_path):
    path = tmp_path / "histories.parquet"
    rows = [(str(user), [user % 5] * (user % 4), user % 4, None, None) for user in range(50)]
    write_histories(histories_of(rows, num_items=5), path)
    pq.write_table(pq.read_table(path), path, row_group_size=7)
    found = read_histories(path, num_items=5)
    assert [found.items(user).tolist() for user in range(50)] == [row[1] for row in rows]
    assert found.items_E.dtype == np.int32


def table(**changed):
    columns = {
        "uid": pa.array(["u"]),
        "items": pa.array([[0, 1, 2]], pa.list_(pa.int32())),
        "train_length": pa.array([1], pa.int32()),
        "validation_at": pa.array([1], pa.int32()),
        "test_at": pa.array([2], pa.int32()),
    }
    return pa.table({name: column for name, column in (columns | changed).items() if column is not None})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"test_at": None}, "no column test_at"),
        ({"test_at": pa.array([2], pa.int64())}, "column test_at is int64, not int32"),
        ({"items": pa.array([None], pa.list_(pa.int32()))}, "column items has nulls"),
        ({"items": pa.array([[0, 5, 2]], pa.list_(pa.int32()))}, "items 0 to 5, but the catalogue has 5"),
        ({"items": pa.array([[0, -1, 2]], pa.list_(pa.int32()))}, "items -1 to 2"),
        ({"items": pa.array([[0, None, 2]], pa.list_(pa.int32()))}, "column items has nulls"),
        ({"train_length": pa.array([4], pa.int32())}, "test_at of user 'u' is no place"),
        ({"validation_at": pa.array([0], pa.int32())}, "test_at of user 'u' is no place"),
        ({"test_at": pa.array([3], pa.int32())}, "test_at of user 'u' is no place"),
    ],
)
def test_a_wrong_file_is_told_with_its_path_and_the_remedy(tmp_path, changed, told):
    path = tmp_path / "histories.parquet"
    pq.write_table(table(**changed), path)
    with pytest.raises(DataError) as fault:
        read_histories(path, num_items=5)
    assert str(path) in str(fault.value)
    assert told in str(fault.value)
    assert "build" in str(fault.value)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but no more of it PAR1"])
def test_a_file_that_is_not_there_or_no_parquet_is_told(tmp_path, content):
    path = tmp_path / "histories.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="run the build_data stage again"):
        read_histories(path, num_items=5)
