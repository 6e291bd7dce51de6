"""How ranks of several hosts share a model, and that uneven hosts are told or shared by all."""

import pytest

from onerec.config.mesh import hosts_of, mesh_shape
from onerec.errors import ConfigError


@pytest.mark.parametrize(
    ("sharding", "hosts", "shape"),
    [
        ("auto", (1,), (1,)),
        ("auto", (8,), (8,)),
        ("auto", (8, 8), (2, 8)),
        ("auto", (8, 8, 8), (3, 8)),
        ("auto", (8, 4), (12,)),
        ("auto", (1, 1, 1), (3,)),
        ("full", (8, 8), (16,)),
        ("full", (8, 4), (12,)),
        ("hybrid", (8,), (8,)),
        ("hybrid", (8, 8), (2, 8)),
        ("hybrid", (1, 1), (2, 1)),
    ],
)
def test_the_mesh_of_every_cluster(sharding, hosts, shape):
    assert mesh_shape(sharding, hosts=hosts) == shape


def test_hybrid_on_uneven_hosts_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r'they have 8, 4; start as many on each, or set sharding = "full"'):
        mesh_shape("hybrid", hosts=(8, 4))


@pytest.mark.parametrize(
    ("local_sizes", "hosts"), [([1], (1,)), ([2, 2, 2, 2], (2, 2)), ([2, 2, 1], (2, 1)), ([4] * 4, (4,))]
)
def test_hosts_are_found_from_what_each_rank_knows(local_sizes, hosts):
    assert hosts_of(local_sizes) == hosts


@pytest.mark.parametrize("local_sizes", [[2, 1, 2], [2, 2, 2], [1, 2]])
def test_ranks_that_jump_between_hosts_are_refused(local_sizes):
    with pytest.raises(ConfigError, match="not numbered host by host"):
        hosts_of(local_sizes)
