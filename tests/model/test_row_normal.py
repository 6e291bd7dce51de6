import pytest
import torch
from safetensors.torch import save_file

from onerec.errors import ConfigError
from onerec.model import row_normal
from onerec.model.row_normal import measure


def stored(tmp_path, table):
    path = tmp_path / "model.safetensors"
    save_file({"table": table.contiguous()}, path)
    return path


def drawn(normal, count, *, seed=1, name="table", dtype=torch.float32):
    data = b"".join(normal.draw(count, dtype=dtype, seed=seed, name=name))
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(count, -1)


def correlated(rows, width=6):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(rows, width, generator=generator) @ mixing + torch.arange(width)


@pytest.mark.parametrize("chunk", [7, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_and_covariance_are_those_of_the_first_rows_alone(tmp_path, monkeypatch, chunk, dtype):
    monkeypatch.setattr(row_normal, "ROWS_AT_A_TIME", chunk)
    table = correlated(100).to(dtype)
    table[80:] = 1e4
    normal = measure(stored(tmp_path, table), "table", rows=80)
    exact = table[:80].double()
    torch.testing.assert_close(normal.mean_D.double(), exact.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        (normal.factor_DD @ normal.factor_DD.T).double(), exact.T.cov(), rtol=1e-4, atol=1e-4
    )


def test_drawn_rows_have_the_mean_and_covariance(tmp_path):
    table = correlated(500)
    rows = drawn(measure(stored(tmp_path, table), "table", rows=500), 60_000).double()
    scale = table.std(dim=0).max().item()
    torch.testing.assert_close(rows.mean(dim=0), table.double().mean(dim=0), rtol=0, atol=0.02 * scale)
    torch.testing.assert_close(rows.T.cov(), table.double().T.cov(), rtol=0, atol=0.03 * scale**2)


def test_seed_and_name_decide_the_rows_and_nothing_else(tmp_path):
    normal = measure(stored(tmp_path, correlated(50)), "table", rows=50)
    first = drawn(normal, 9)
    torch.manual_seed(99)
    assert torch.equal(drawn(normal, 9), first)
    assert not torch.equal(drawn(normal, 9, seed=2), first)
    assert not torch.equal(drawn(normal, 9, name="other"), first)


@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_rows_than_columns_still_give_a_distribution(tmp_path, rows):
    table = correlated(rows)
    found = drawn(measure(stored(tmp_path, table), "table", rows=rows), 5)
    assert torch.isfinite(found).all()


def test_rows_that_are_all_alike_are_drawn_alike(tmp_path):
    table = torch.full((10, 4), 2.5)
    assert torch.equal(drawn(measure(stored(tmp_path, table), "table", rows=10), 3), torch.full((3, 4), 2.5))


def test_rows_that_are_not_finite_are_refused_by_name(tmp_path):
    table = correlated(10)
    table[3, 2] = float("nan")
    with pytest.raises(ConfigError, match=r"rows of table are not finite"):
        measure(stored(tmp_path, table), "table", rows=10)
