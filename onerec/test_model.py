"""Is a Hugging Face folder sound: its weights load, a forward pass is finite, it generates for text and chat.

Held-out loss beside the popularity model is told where the step is given data. Nothing is written but the
report.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoModelForCausalLM

from onerec.config import GenerationCase
from onerec.data.text.render import Renderer
from onerec.errors import ConfigError, DataError, OneRecError
from onerec.evaluate.heldout import heldout_loss
from onerec.evaluate.popularity import answers_of, mentions, popularity_nats
from onerec.model.attention import register_document_attention
from onerec.model.hf_folder import CONFIG_NAME
from onerec.model.load import tensor_files
from onerec.progress import Progress, say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from onerec.config import TestModelConfig

SHIPPED_CASES = Path(__file__).with_name("test_cases.json")
FORWARD_TEXT = "A user's history, item by item, and what comes next."


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str


def test_model(config: TestModelConfig) -> dict[str, object]:
    """Test a model folder; writes test_report.json and returns the report.

    Raises OneRecError (exit 1) naming every check that failed, ConfigError for a folder or case file that is
    unusable.
    """
    output_dir = Path(config.output_dir)
    cases = load_cases(Path(config.test.test_cases) if config.test.test_cases else SHIPPED_CASES)
    progress = Progress(output_dir, total=len(cases) + 3, unit="checks")
    subject = Subject(config)
    checks = [subject.check_weights(), subject.check_forward()]
    is_sound = all(check.ok for check in checks)
    for case in cases if is_sound else ():
        checks.append(subject.check_generation(case))
        progress.update(len(checks))
    heldout = subject.compare_with_popularity() if is_sound else {}
    report = [f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}" for check in checks]
    if heldout:
        checks.append(Check("held-out answers", math.isfinite(heldout["model"]), describe_heldout(heldout)))
        report.append(describe_heldout(heldout))
    progress.update(len(cases) + 3)
    document: dict[str, object] = {
        "model_dir": config.model_dir,
        "checks": [asdict(check) for check in checks],
        "heldout": heldout,
        "report": report,
    }
    write_json_atomically(output_dir / "test_report.json", document)
    say("\n".join(report))
    failed = [check.name for check in checks if not check.ok]
    if failed:
        raise OneRecError(
            f"{config.model_dir} failed: {', '.join(failed)}; see {output_dir / 'test_report.json'}"
        )
    return document


def load_cases(path: Path) -> list[GenerationCase]:
    """Test cases from a JSON list; raises ConfigError naming file and case."""
    try:
        return TypeAdapter(list[GenerationCase]).validate_json(path.read_bytes())
    except FileNotFoundError as fault:
        raise ConfigError(f"{path} is missing; give a JSON list of test cases") from fault
    except ValidationError as fault:
        raise ConfigError(
            f"{path}: {fault}; every case is an object with name, kind and prompt or messages"
        ) from fault


def describe_heldout(heldout: dict[str, float]) -> str:
    """The comparison in one line."""
    text = (
        f"held-out answers: {heldout['answers']:.0f}, model {heldout['model']:.3f} nats per answer "
        f"({heldout['model_per_token']:.3f} per token)"
    )
    if "popularity" not in heldout:
        return text
    return f"{text}, popularity (unigram) model {heldout['popularity']:.3f} nats per answer"


class Subject:
    """The model under test, loaded once."""

    def __init__(self, config: TestModelConfig) -> None:
        folder = Path(config.model_dir)
        if not (folder / CONFIG_NAME).exists():
            raise ConfigError(f"{folder} has no {CONFIG_NAME}; give a Hugging Face folder")
        tensor_files(folder)  # names a file that is damaged; transformers does not
        self._config = config
        self._renderer = Renderer(folder, add_think_pattern=config.add_think_pattern)
        self._tokenizer = self._renderer.tokenizer
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        loaded: tuple[Any, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
        self._model, self._told = loaded
        self._model.to(device).eval()

    def check_weights(self) -> Check:
        """No tensor missing, unexpected, misshapen or not finite; the table holds the vocabulary."""
        faults = [f"{kind}: {sorted(map(str, names))[:3]}" for kind, names in self._told.items() if names]
        faults += [
            f"{name} is not finite" for name, p in self._model.named_parameters() if not p.isfinite().all()
        ]
        rows, tokens = self._model.config.vocab_size, len(self._tokenizer)
        if rows < tokens:
            faults.append(f"{tokens} tokens, but only {rows} embedding rows")
        count = sum(parameter.numel() for parameter in self._model.parameters())
        return Check(
            "weights",
            not faults,
            "; ".join(faults) or f"{count:,} parameters, {tokens:,} tokens in {rows:,} rows",
        )

    @torch.no_grad()
    def check_forward(self) -> Check:
        """A forward pass over a text has finite logits and a loss not far above chance."""
        ids = torch.tensor([self._tokenizer(FORWARD_TEXT)["input_ids"]], device=self._model.device)
        result = self._model(input_ids=ids, labels=ids)
        loss, chance = float(result.loss), math.log(self._model.config.vocab_size)
        ok = bool(result.logits.isfinite().all()) and loss < 3 * chance
        return Check("forward pass", ok, f"loss {loss:.3f} on a text (chance {chance:.3f})")

    @torch.no_grad()
    def check_generation(self, case: GenerationCase) -> Check:
        """What the model says to a prompt; every expected substring must be in it."""
        ids = torch.tensor([self._prompt_ids(case)], device=self._model.device)
        torch.manual_seed(0)
        sampling: dict[str, Any] = (
            {"do_sample": True}
            if case.do_sample
            else {
                "do_sample": False,
                "temperature": None,
                "top_p": None,
                "top_k": None,
            }
        )
        generated = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=case.max_new_tokens or self._config.test.max_new_tokens,
            pad_token_id=self._renderer.pad_id,
            **sampling,
        )
        text = self._tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=False)
        lacking = [piece for piece in case.expect if piece not in text]
        lacks = f"; lacks {lacking}" if lacking else ""
        return Check(
            f"generation, {case.name}", generated.shape[1] > ids.shape[1] and not lacking, repr(text) + lacks
        )

    def compare_with_popularity(self) -> dict[str, float]:
        """Held-out loss of the model, and of the popularity model where given; empty without data."""
        if self._config.heldout_dir is None:
            return {}
        folder = Path(self._config.heldout_dir)
        self._model.set_attn_implementation(register_document_attention())
        lm = self._model.to("cpu", torch.float32)
        model = heldout_loss(lm, self._renderer, folder)
        figures = {"answers": model.answers, "model": model.per_answer, "model_per_token": model.per_token}
        if self._config.popularity_dir is not None:
            counts, answers = mentions(Path(self._config.popularity_dir)), answers_of(folder)
            if len(answers) != model.answers:
                raise DataError(
                    f"{folder}: {model.answers} answers, of which {len(answers)} name an item; "
                    "popularity can be compared only where every answer is an item"
                )
            figures["popularity"] = popularity_nats(counts, answers)
        return figures

    def _prompt_ids(self, case: GenerationCase) -> list[int]:
        if case.kind == "text":
            text = case.prompt or ""
        else:
            text = self._tokenizer.apply_chat_template(
                [message.model_dump() for message in case.messages],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=case.enable_thinking,
            )
        encode: Callable[..., Any] = self._tokenizer
        return list(encode(text, add_special_tokens=False)["input_ids"])
