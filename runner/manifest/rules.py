"""The rules that hold between the tables of a manifest: references, order, launchers, lengths.

Pure: each rule takes a manifest whose values have the right types and tells the problems it sees. Files,
hosts and programs are looked at by `runner.preflight`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onerec.config import Dataset
from runner.manifest.faults import Problem, shown
from runner.manifest.positions import KeyPath
from runner.manifest.rules_cluster import check_cluster
from runner.manifest.rules_datasets import check_stage_data
from runner.manifest.rules_items import check_items
from runner.manifest.rules_paths import check_paths
from runner.manifest.rules_references import check_references
from runner.manifest.sources import URL_SCHEMES, source_parts, url_scheme
from runner.manifest.tables import Manifest, Stage
from runner.redact import has_credentials, redacted

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""Names of runs, stages and datasets: they become parts of a path."""
LONGEST_NAME = 100
"""Characters of a name: it is a folder, and other names are made of it."""
RESERVED = {
    "name": {"latest"},
    "datasets": {"logs", "rows"},  # a build_data stage named data lies beside the datasets
    "stages": {
        *("control", "latest", "lock", "log", "logs"),
        *("environment.json", "events.jsonl", "manifest.resolved.json", "manifest.toml"),
        *("sbatch.sh", "slurm.log"),
    },
}
"""Names that the run directory, or the folder of runs, uses itself."""


def check_rules(manifest: Manifest, doubtful: frozenset[KeyPath] = frozenset()) -> Iterator[Problem]:
    """Every broken rule; nothing is told that rests on a `doubtful` stage, dataset or launcher."""
    yield from _check_names(manifest)
    yield from check_paths(manifest)
    if ("cluster", "launcher") not in doubtful:
        yield from check_cluster(manifest.cluster)
    for name, dataset in manifest.datasets.items():
        yield from _check_dataset(("datasets", name), dataset, manifest)
    yield from check_references(manifest, doubtful)
    yield from check_items(manifest, doubtful)
    for name, stage in manifest.stages.items():
        yield from _check_schedule(("stages", name), stage)
        if stage.kind == "train" and ("stages", name) not in doubtful:
            yield from check_stage_data(("stages", name), stage, manifest)


def _check_names(manifest: Manifest) -> Iterator[Problem]:
    names: list[tuple[KeyPath, str]] = [(("name",), manifest.name)]
    names += [(("datasets", name), name) for name in manifest.datasets]
    names += [(("stages", name), name) for name in manifest.stages]
    for path, name in names:
        if len(name) > LONGEST_NAME:
            yield Problem(path, f"the name has {len(name)} characters", f"use at most {LONGEST_NAME}")
        if not NAME.fullmatch(name):
            yield Problem(
                path,
                f"{shown_name(name)} cannot be part of a path",
                "use letters, digits, '.', '_' and '-', with no '.' or '-' in front",
            )
        taken = name in RESERVED[str(path[0])]
        if taken or (path == ("stages", "data") and manifest.stages[name].kind != "build_data"):
            yield Problem(path, f"{name!r} is a name that runs use themselves", "choose another")


def shown_name(name: str) -> str:
    """A name in quotes, cut where it is long, control characters escaped."""
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def _check_dataset(path: KeyPath, dataset: Dataset, manifest: Manifest) -> Iterator[Problem]:
    longest = dataset.max_sample_length
    if longest is not None and longest > dataset.max_length:
        yield Problem(
            (*path, "max_sample_length"),
            f"{longest} is above max_length {dataset.max_length}: such a sample fits no pack",
            "lower it or raise max_length",
        )
    for below, source in source_parts(dataset):
        if isinstance(source, str):
            yield from _check_source((*path, *below), source)
    if dataset.itemic_id_range is not None:
        yield from _check_range((*path, "itemic_id_range"), dataset.itemic_id_range, manifest)


def _check_source(path: KeyPath, source: str) -> Iterator[Problem]:
    scheme = url_scheme(source)
    if scheme and scheme not in URL_SCHEMES:
        known = ", ".join(f"{name}://" for name in URL_SCHEMES)
        yield Problem(path, f"{scheme}:// cannot be read", f"write a local path or one of {known}")
    elif scheme and has_credentials(source):
        yield Problem(
            path,
            f"{shown(redacted(source))}: the URL holds a secret, which would be kept in the run directory",
            "leave it to variables such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which "
            "cluster.env_file can name a file of",
        )
    if not source.strip():
        yield Problem(path, "is empty", "write a file, a folder, a glob or a URL")


def _check_range(path: KeyPath, given: tuple[int, int], manifest: Manifest) -> Iterator[Problem]:
    layers, size = manifest.vocab.itemic_layer_n, manifest.vocab.vocab_size_per_layer
    wanted = layers * size + 2
    first, last = given
    if last - first + 1 != wanted:
        yield Problem(
            path,
            f"[{first}, {last}] holds {max(0, last - first + 1)} ids, but [vocab] makes {wanted} itemic "
            f"tokens: {layers} x {size} and 2",
            f"write [{first}, {first + wanted - 1}], or remove it: it is derived from [vocab]",
        )


def _check_schedule(path: KeyPath, stage: Stage) -> Iterator[Problem]:
    if stage.kind != "train":
        return
    if stage.max_steps is not None and stage.num_warmup_steps > stage.max_steps:
        yield Problem(
            (*path, "num_warmup_steps"),
            f"the warm-up of {stage.num_warmup_steps} steps is longer than max_steps {stage.max_steps}",
            "lower it or raise max_steps",
        )
    if stage.num_training_steps is None:
        return
    if stage.num_warmup_steps > stage.num_training_steps:
        yield Problem(
            (*path, "num_warmup_steps"),
            f"the warm-up of {stage.num_warmup_steps} steps is longer than num_training_steps "
            f"{stage.num_training_steps}, where the decay ends",
            "lower it or raise num_training_steps",
        )
    elif (stage.num_decay_steps or 0) > (left := stage.num_training_steps - stage.num_warmup_steps):
        yield Problem(
            (*path, "num_decay_steps"),
            f"a decay of {stage.num_decay_steps} steps does not fit: {left} of num_training_steps "
            f"{stage.num_training_steps} are left after the warm-up",
            "lower it or raise num_training_steps",
        )
