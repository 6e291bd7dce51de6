"""Checks of the loaded weights: equal to the files, finite, none that looks dead, out of line or at random.

What is suspicious, but may be wanted, is a note with its figures.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.files import CONFIG, NONE_MISSING, SHAPES, WEIGHT_FILES
from onerec.model_test.moments import PIECE

if TYPE_CHECKING:
    from onerec.model_test.moments import Moments
    from onerec.model_test.subject import Subject

LOADED, FINITE = "loaded", "finite"
OUT_OF_LINE = 10.0
"""Ratio of a matrix's root mean square to that of its kin in other layers, from which on it is told."""
DEVIATIONS = 5.0
"""Standard errors within which a figure is that of fresh weights: one matrix in a million is so by chance."""
_IN_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


def check_loaded(subject: Subject) -> Finding:
    """transformers has filled every parameter, and each is equal to its tensor in the file."""
    model, told = subject.loaded
    faults = [f"transformers tells {kind}: {sorted(map(str, of))[:3]}" for kind, of in told.items() if of]
    parameters = dict(model.named_parameters())
    faults += [f"{name} was made a tensor of its own" for name in parameters if name not in subject.shapes]
    faults += [
        f"{name} is other than in {subject.file_of(name)}"
        for name in _names_by_file(subject)
        if name in parameters and not _is_as_stored(subject, name, parameters[name])
    ]
    where = model.device if model.device.type == "cpu" else torch.cuda.get_device_name(model.device)
    spelled = str(model.dtype).removeprefix("torch.")
    return verdict(faults, f"{len(parameters):,} tensors equal to the files, {spelled} on {where}")


def check_finite(subject: Subject) -> Finding:
    """No weight is nan or infinite."""
    faults = [
        f"{name} in {subject.file_of(name)} has nan or infinite numbers"
        for name, moments in subject.moments.items()
        if not moments.is_finite
    ]
    return verdict(faults, "no nan, no infinity")


def check_alive(subject: Subject) -> Finding:
    """No matrix is constant, and no norm is zero."""
    faults = [
        f"{name} in {subject.file_of(name)} is {moments.least:g} everywhere"
        for name, moments in subject.moments.items()
        if moments.least == moments.greatest and (moments.least == 0 or _is_matrix(subject, name))
    ]
    return verdict(faults, "no matrix is constant, no norm is zero")


def check_kin(subject: Subject) -> Finding:
    """Matrices of one kind are of like size in all layers."""
    kin: dict[str, dict[str, float]] = defaultdict(dict)
    for name, moments in _layer_matrices(subject).items():
        kin[_IN_LAYER.sub(r"\2", name)][name] = moments.rms
    ratios = {
        name: rms / others
        for like in kin.values()
        for name, rms in like.items()
        if len(like) > 1 and (others := median(each for other, each in like.items() if other != name))
    }
    notes = [
        f"{name} in {subject.file_of(name)} is {ratio:.3g} times the size of its like in other layers"
        for name, ratio in ratios.items()
        if not 1 / OUT_OF_LINE < ratio < OUT_OF_LINE
    ]
    span = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f} times" if ratios else "as large as"
    return verdict(notes, f"every matrix is {span} its like in other layers", status="note")


def check_fresh(subject: Subject) -> Finding:
    """No matrix of a layer has the figures of one that was initialised and never trained."""
    matrices, spread = _layer_matrices(subject), float(subject.config.initializer_range)
    fresh = [name for name, moments in matrices.items() if _looks_fresh(moments, spread)]
    told = f"{len(fresh):,} of {len(matrices):,} matrices of the layers look newly initialised"
    if not fresh:
        return Finding("ok", told)
    return Finding("note", f"{told} (normal, {spread:g}), first {fresh[0]} in {subject.file_of(fresh[0])}")


def _looks_fresh(moments: Moments, spread: float) -> bool:
    """Whether mean, deviation and tails are those of draws from a normal distribution, within chance."""
    n = moments.count
    return (
        abs(moments.mean) < DEVIATIONS * spread / math.sqrt(n)
        and abs(moments.deviation / spread - 1) < DEVIATIONS / math.sqrt(2 * n)
        and abs(moments.kurtosis - 3) < DEVIATIONS * math.sqrt(24 / n)
    )


def _layer_matrices(subject: Subject) -> dict[str, Moments]:
    return {
        name: moments
        for name, moments in subject.moments.items()
        if _IN_LAYER.fullmatch(name) and _is_matrix(subject, name) and moments.is_finite
    }


def _is_matrix(subject: Subject, name: str) -> bool:
    return len(subject.shapes[name]) == 2


def _names_by_file(subject: Subject) -> list[str]:
    return sorted(subject.placed, key=lambda name: (subject.file_of(name), subject.placed[name].stored.begin))


@torch.no_grad()
def _is_as_stored(subject: Subject, name: str, parameter: torch.Tensor) -> bool:
    """Whether file and parameter are equal; read in pieces, for a table in fp32 takes gigabytes."""
    rows = max(1, PIECE * len(parameter) // parameter.numel())
    with safe_open(subject.placed[name].file, framework="pt") as file:
        stored = file.get_slice(name)
        return all(
            _are_equal(stored[start : start + rows].to(held), held)
            for start in range(0, len(parameter), rows)
            for held in [parameter[start : start + rows]]
        )


def _are_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    # nan is not equal to itself, and another check's business
    return torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num())


_trial = partial(Trial, "weights")
TRIALS = (
    _trial(LOADED, check_loaded, needs=(WEIGHT_FILES, CONFIG, NONE_MISSING, SHAPES)),
    _trial(FINITE, check_finite, needs=(LOADED,)),
    _trial("no dead tensor", check_alive, needs=(LOADED,)),
    _trial("layers alike", check_kin, needs=(LOADED,)),
    _trial("trained", check_fresh, needs=(LOADED,)),
)
