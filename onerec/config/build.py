"""Settings of build_data: where interactions come from, what is done with odd ones, what is made of them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from onerec.config.section import Cosmetic, Section, Share

KNOWN_SOURCES = ("movielens-100k", "movielens-1m", "amazon-reviews")
"""Public data sets whose layouts are known."""
OUTPUTS = ("pretrain", "sft", "validation", "test", "test_tasks")
"""Folders of rows that build_data makes: validation/ and test/ hold one next-item question a user."""
Task = Literal[
    "history",
    "item_text",
    "user_profile",
    "next_item",
    "typed_next_item",
    "label_prediction",
    "item_description",
    "interactive",
]
TASKS: tuple[Task, ...] = get_args(Task)
"""Kinds of rows: the first three are texts for pretraining, the others chats for fine-tuning."""


class Columns(Section):
    """Names of the columns in the user's own tables; what a table does not have is left out (null)."""

    user: str = "user_id"
    """Interactions: who."""
    item: str = "item_id"
    """Interactions: which item; the same ids as `id` of the items."""
    time: str = "timestamp"
    """Interactions: when; whole seconds, milliseconds, or a timestamp column."""
    rating: str | None = None
    """Interactions: a number, of which positive_rating or more means that the user liked the item."""
    type: str | None = None
    """Interactions: a word for what the user did, such as click or purchase."""
    query: str | None = None
    """Interactions: what the user asked for, in words, before the event."""
    id: str = "item_id"
    """Items: their id."""
    title: str = "title"
    """Items: their name."""
    text: str | None = None
    """Items: a description."""
    categories: str | None = None
    """Items: a list of words, or one text that separates them with `|`."""
    year: str | None = None
    """Items: a year."""
    embedding: str | None = None
    """Items: a list of numbers, of one length, for item_vectors = "embedding"."""


class Policy(Section):
    """What is done with data that is not as it should be; everything is counted and told with examples."""

    missing_values: Literal["error", "drop"] = "error"
    """Interactions without user, item or time; items without id."""
    unknown_items: Literal["error", "drop"] = "error"
    """Interactions with an item that the table of items does not have."""
    repeats: Literal["first", "last", "keep", "error"] = "first"
    """A user meets an item again: the first or the last time counts, or each does."""
    duplicate_items: Literal["error", "first"] = "error"
    """Several rows of the items table with one id: an error, or the first counts."""
    unordered_times: Literal["sort", "error"] = "sort"
    """Events of a user that do not stand in order of time."""
    mixed_ids: Literal["error", "text"] = "error"
    """Ids that are numbers in one table or row and texts in another: an error, or all are read as texts."""
    items_without_text: Literal["keep", "drop", "error"] = "keep"
    """Items without title and text; kept, they have an id but no rows about them."""
    items_without_interactions: Literal["keep", "drop", "error"] = "keep"
    """Items that no training event has; kept, their id comes from what is written about them."""
    users_with_one_event: Literal["keep", "drop", "error"] = "keep"
    """Users whom nothing can be held out from; kept, they are trained on and counted as not evaluated."""


class BuildData(Section):
    """Raw interactions and item texts to semantic ids and parquet rows."""

    source: Literal["movielens-100k", "movielens-1m", "amazon-reviews"] | None = None
    """A known public data set; or interactions and items."""
    path: str | None = None
    """A folder, archive or file that holds the source; default: a cache, then a download where allowed."""
    download: Annotated[bool, Cosmetic] = True
    """Whether a missing source may be downloaded."""
    interactions: str | None = None
    """A table of your own, parquet, CSV, TSV or JSON lines, or a folder of these: user, item, time."""
    items: str | None = None
    """A table of your own with one row per item; with interactions."""
    columns: Columns = Field(default_factory=Columns)
    """Names of the columns of interactions and items."""
    policy: Policy = Field(default_factory=Policy)
    """What is done with data that is not as it should be."""
    min_user_events: PositiveInt = 1
    """Users with fewer events are left out, again and again until it holds (k-core)."""
    min_item_events: NonNegativeInt = 0
    """Items with fewer events are left out, again and again until it holds; 0 keeps those without any."""
    positive_rating: float | None = None
    """A rating of at least this means liked; needed for label_prediction where types do not tell."""
    positive_types: tuple[str, ...] = ()
    """Types of interaction that mean liked, such as purchase."""

    split: Literal["leave_last_out", "time"] = "leave_last_out"
    """Held out: each user's last event; or all events after a moment, of which the first is asked for."""
    test_share: Share = 0.1
    """With split time: share of the events, the newest, that are held out for the test."""
    validation_share: Share = 0.1
    """With split time: share of the events, the newest before those, that are held out for validation."""
    validation: bool = True
    """With leave_last_out: whether the event before the last is held out too, for validation."""

    item_vectors: Literal["text_and_choices", "embedding", "text_encoder"] = "text_and_choices"
    """TF-IDF beside co-occurrence factors; the column columns.embedding; or a text encoder."""
    item_vector_size: PositiveInt = 64
    """Width of the vectors of text_and_choices."""
    text_share: Share = 0.5
    """With text_and_choices: share of the vectors' power that text has; 0 is choices alone."""
    text_encoder_dir: str | None = None
    """With text_encoder: a local folder of a Hugging Face encoder; its mean over tokens is the vector."""
    clustering: Literal["kmeans", "balanced"] = "kmeans"
    """How codes are found: k-means, or k-means whose codes get nearly the same number of items."""
    clustering_batch_size: PositiveInt = 20_000
    """Vectors of one step of mini-batch k-means, which is taken where there are several times as many."""
    given_ids: str | None = None
    """Parquet with the columns pid and sid (or another build's items.parquet): ids to take, not to make."""

    tasks: tuple[Task, ...] = TASKS
    """Which kinds of rows are made, where the data has what they need."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en", "zh")
    """Languages of the templates that come with the program."""
    templates: str | None = None
    """TOML file of templates to take instead; `runner new` copies one to edit."""
    history_length: PositiveInt = 50
    """Most items of a history in one chat row."""
    window_items: PositiveInt = 350
    """Most items of a history in one pretraining text; longer histories become several texts."""
    samples_per_user: PositiveInt = 8
    """Chat rows of one kind made of each user: as many last positions of the training part."""
    history_copies: PositiveInt = 1
    """Pretraining texts of each history: the first whole, others thinned and cut elsewhere, by chance."""
    history_keep: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Chance of each event to stay in the copies after the first."""

    @model_validator(mode="after")
    def _has_one_source(self) -> BuildData:
        has_tables = self.interactions is not None or self.items is not None
        if self.source is None and not has_tables:
            raise ValueError(
                "nothing says where interactions come from; give source, or interactions and items"
            )
        if self.source is not None and has_tables:
            raise ValueError("source and tables of your own exclude each other; remove either")
        if (self.interactions is None) != (self.items is None):
            raise ValueError("interactions and items go together; give both")
        if self.source is None and self.path is not None:
            raise ValueError("path says where a known source lies; remove it, or add source")
        return self

    @model_validator(mode="after")
    def _has_vectors(self) -> BuildData:
        if (self.item_vectors == "text_encoder") != (self.text_encoder_dir is not None):
            raise ValueError('item_vectors = "text_encoder" and text_encoder_dir go together; give both')
        if self.item_vectors == "embedding" and self.columns.embedding is None:
            raise ValueError(
                'item_vectors = "embedding" needs the column that holds them; '
                'write columns = { embedding = "..." }'
            )
        return self

    @model_validator(mode="after")
    def _leaves_a_training_part(self) -> BuildData:
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share leave nothing to train on; lower them")
        return self
