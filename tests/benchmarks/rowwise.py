"""Some of build_data's rows made the plain way, one at a time and a dict each, to be compared with.

Follows the same rules for keys, uuids and wordings; nothing in the program uses it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from hashlib import blake2b

from onerec.build.rows import Row
from onerec.build.split import NONE
from onerec.build.tasks.material import Material
from onerec.build.tasks.wording import Wording

TASKS = ("history", "next_item", "label_prediction")
Spelled = list[str]


def rows_of_folders(material: Material) -> dict[str, Iterator[Row]]:
    """Rows of TASKS by folder."""
    spelled = material.spelled_N.to_pylist()
    users = range(len(material.interactions.users))
    train, test = material.split.train_lengths_U, material.split.test_U
    last = [range(max(1, train[user] - material.data.samples_per_user), train[user]) for user in users]
    held_out = [range(test[user], test[user] + 1) if test[user] != NONE else range(0) for user in users]
    return {
        "pretrain": _histories(material, spelled),
        "sft": _chats(material, spelled, "sft", ("next_item", "label_prediction"), last),
        "test": _chats(material, spelled, "test", ("next_item",), held_out),
        "test_tasks": _chats(material, spelled, "test_tasks", ("label_prediction",), held_out),
    }


def _histories(material: Material, spelled: Spelled) -> Iterator[Row]:
    for number, user in enumerate(material.interactions.users):
        history = material.interactions.history(number)[: material.split.train_lengths_U[number]]
        identifier, wording = _drawn(material, f"pretrain/history/{user.uid}/0/0", "history")
        text = wording.text({"history": "".join(spelled[item] for item in history)})
        yield Row(identifier, "history", {"user": user.uid, "window": 0, "copy": 0}, segments=(text,))


def _chats(
    material: Material, spelled: Spelled, folder: str, tasks: tuple[str, ...], places: list[range]
) -> Iterator[Row]:
    for task in tasks:
        for number, own in enumerate(places):
            for place in own:
                yield _chat(material, spelled, folder, task, number, place)


def _chat(material: Material, spelled: Spelled, folder: str, task: str, number: int, place: int) -> Row:
    user, history = material.interactions.users[number], material.interactions.history(number)
    identifier, wording = _drawn(material, f"{folder}/{task}/{user.uid}/{place}", task)
    seen, target = history[max(0, place - material.data.history_length) : place], history[place]
    fields = {"history": "".join(spelled[item] for item in seen)}
    answer = spelled[target]
    metadata = {
        "user": user.uid,
        "target_pid": material.interactions.items[target].pid,
        "position": int(place),
        "history_length": len(seen),
    }
    if task == "label_prediction":
        assert material.interactions.ratings_E is not None
        assert material.data.positive_rating is not None
        rating = material.interactions.ratings_E[material.interactions.offsets_U1[number] + place]
        label, words = (
            bool(rating >= material.data.positive_rating),
            material.templates.words[wording.language],
        )
        fields |= {"item": answer, "type": material.templates.said_type("likes", wording.language)}
        answer = words["yes" if label else "no"]
        metadata |= {"label": label, "yes": words["yes"], "no": words["no"]}
    question = wording.text(fields)
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Row(identifier, task, metadata, messages=messages)


def _drawn(material: Material, key: str, task: str) -> tuple[str, Wording]:
    digest = bytearray(blake2b(f"{material.seed}/{key}".encode(), digest_size=24).digest())
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    wordings = material.templates.wordings[task]
    return (
        str(uuid.UUID(bytes=bytes(digest[:16]))),
        wordings[int.from_bytes(digest[16:], "little") % len(wordings)],
    )
