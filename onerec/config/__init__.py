"""What one step is told: the sections that manifests are made of, and the config.json of every program.

Only pydantic and the standard library, never torch, so that the runner can import it and answer fast.
Sections check what they are given; they never fill in or change it.
"""

from __future__ import annotations

from onerec.config.build import OUTPUTS, TASKS, BuildData, Columns, Policy
from onerec.config.cases import ChatMessage, GenerationCase, load_cases
from onerec.config.data import (
    DataOrder,
    Dataset,
    Mixture,
    PreparedDataset,
    StageSource,
)
from onerec.config.evaluation import BASELINES, Evaluation
from onerec.config.model import InitModel, ModelSource, ModelTest, Vocab
from onerec.config.programs import (
    BuildDataConfig,
    ConvertConfig,
    EncodeItemsConfig,
    EvaluateConfig,
    ExpandVocabConfig,
    InitModelConfig,
    InspectDataConfig,
    PrepareConfig,
    PreviewConfig,
    RecommendConfig,
    ShardConfig,
    StepConfig,
    TestModelConfig,
    TrainConfig,
    dump_config,
    load_config,
)
from onerec.config.section import (
    Cosmetic,
    FieldClass,
    NonNegativeFloat,
    Section,
    Share,
    Speed,
    Topology,
    class_of,
    says_nothing_new,
)
from onerec.config.training import (
    Checkpointing,
    Compute,
    Duration,
    Monitoring,
    Optim,
    Trainable,
    Training,
    Validating,
)

__all__ = [
    "BASELINES",
    "OUTPUTS",
    "TASKS",
    "BuildData",
    "BuildDataConfig",
    "ChatMessage",
    "Checkpointing",
    "Columns",
    "Compute",
    "ConvertConfig",
    "Cosmetic",
    "DataOrder",
    "Dataset",
    "Duration",
    "EncodeItemsConfig",
    "EvaluateConfig",
    "Evaluation",
    "ExpandVocabConfig",
    "FieldClass",
    "GenerationCase",
    "InitModel",
    "InitModelConfig",
    "InspectDataConfig",
    "Mixture",
    "ModelSource",
    "ModelTest",
    "Monitoring",
    "NonNegativeFloat",
    "Optim",
    "Policy",
    "PrepareConfig",
    "PreparedDataset",
    "PreviewConfig",
    "RecommendConfig",
    "Section",
    "ShardConfig",
    "Share",
    "Speed",
    "StageSource",
    "StepConfig",
    "TestModelConfig",
    "Topology",
    "TrainConfig",
    "Trainable",
    "Training",
    "Validating",
    "Vocab",
    "class_of",
    "dump_config",
    "load_cases",
    "load_config",
    "says_nothing_new",
]
