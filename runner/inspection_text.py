"""What the inspection of a dataset means for a run, as findings and as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.manifest.faults import printable
from runner.preflight.findings import Figures, Finding, error, warning
from runner.report import counted, size, table

Document = Mapping[str, Any]

HEADINGS = ("dataset", "files", "rows", "size", "tokens", "trained", "itemic", "packs/epoch", "steps/epoch")


def findings_of(place: str, document: Document, *, limit: float) -> Iterator[Finding]:
    """The faults of a dataset at its `place` in the manifest; `limit` is its max_reject_fraction."""
    sources = f"{place}.sources"
    for fault in [*document["source_faults"], *document["broken"]]:
        yield _error_of(sources, fault)
    untold = document["broken_files"] - len(document["broken"])
    if untold:
        yield error(
            sources, f"{untold:,} more of its {document['files']:,} files are broken", "mend them too"
        )
    if unread := document["unread_files"]:
        message = (
            f"{unread:,} of {document['files']:,} footers were not read in time; figures are of the others"
        )
        yield warning(sources, message, "check the file system")
    yield from _of_emptiness(sources, document)
    yield from _of_schemas(sources, document)
    yield from _of_rejects(place, document, limit)


def message_of(figures: Document) -> str:
    """A dataset in one sentence."""
    parts = [
        f"{counted(figures['files'], 'file')} ({size(figures['compressed_bytes'])})",
        f"{counted(figures['rows'], 'row')} in {counted(figures['row_groups'], 'row group')}",
    ]
    if "tokens" in figures:
        parts.append(
            f"about {_tokens(figures)} tokens, of which {_share(figures['trained_share'])} trained and "
            f"{_share(figures['itemic_share'])} itemic"
        )
        parts.append(f"about {figures['packs_per_epoch']:,} packs an epoch")
    elif figures["tokenizer_fault"]:
        parts.append(f"no estimate of tokens: {figures['tokenizer_fault']}")
    return "; ".join(parts)


def check_text(findings: Sequence[Finding]) -> str:
    """All findings for people: faults first, then what was found out about the data."""
    faults = [str(finding) for finding in findings if finding.level != "info"]
    told = [
        str(finding) for finding in findings if finding.level == "info" and not isinstance(finding, Figures)
    ]
    datasets = [finding for finding in findings if isinstance(finding, Figures)]
    lines = faults or ["nothing found that would keep it from starting"]
    if datasets:
        rows = [HEADINGS, *(_row(finding.place, finding.figures) for finding in datasets)]
        lines = [*lines, "", *table(rows)]
    for finding in datasets:
        lines = [*lines, "", *_details(finding.place, finding.figures)]
    return "\n".join([*lines, *told])


def _error_of(place: str, fault: str) -> Finding:
    message, _, remedy = fault.rpartition("; ")
    return error(place, printable(message or fault), printable(remedy) if message else "")


def _of_emptiness(place: str, document: Document) -> Iterator[Finding]:
    empty = document["empty_files"]
    if empty["count"] and not document["rows"]:
        yield error(place, f"none of its files has a row: {_names(empty)}", "correct the path")
    elif empty["count"]:
        yield warning(place, f"files without rows: {_names(empty)}", "leave them out")


def _of_schemas(place: str, document: Document) -> Iterator[Finding]:
    schemas = document["schemas"]
    if len(schemas) > 1:
        told = "; ".join(
            f"{counted(one['count'], 'file')}: {one['schema']} ({_names(one)})" for one in schemas
        )
        yield warning(place, f"its files have {len(schemas)} schemas: {told}", "make sure that this is meant")


def _of_rejects(place: str, document: Document, limit: float) -> Iterator[Finding]:
    rejected, sampled = document["rejected_rows"], document["sampled_rows"]
    if not rejected:
        return
    told = "; ".join(map(_reject, document["rejects"]))
    message = f"{rejected:,} of {sampled:,} rows looked at would be rejected: {told}"
    remedy = f"correct them; preparing fails above max_reject_fraction = {limit:g}"
    is_certain = rejected > limit * document["rows"]
    yield (error if is_certain else warning)(place, printable(message), remedy)


def _reject(one: Document) -> str:
    first = f"{one['file']}, row {one['row']}: {one['excerpt']}"
    return f"{counted(one['rows'], 'row')}: {one['reason']} (first: {first})"


def _row(place: str, figures: Document) -> tuple[str, ...]:
    steps = sorted(set(figures["steps_per_epoch"].values()))
    has_tokens = "tokens" in figures
    return (
        place.removeprefix("datasets."),
        f"{figures['files']:,}",
        f"{figures['rows']:,}",
        size(figures["compressed_bytes"]),
        _tokens(figures) if has_tokens else "not known",
        _share(figures["trained_share"]) if has_tokens else "",
        _share(figures["itemic_share"]) if has_tokens else "",
        f"{figures['packs_per_epoch']:,}" if has_tokens else "",
        " or ".join(f"{count:,}" for count in steps),
    )


def _details(place: str, figures: Document) -> list[str]:
    """What of a dataset does not fit in one row: where the numbers come from, its schema, its sources."""
    looked = f"{counted(figures['sampled_rows'], 'row')} of {counted(figures['sampled_files'], 'file')}"
    exact = "all its rows" if figures["sampled_all"] else f"{looked}, so tokens and packs are estimates"
    lines = [f"{place}: from every footer and {exact}"]
    lines += [f"  schema: {one['schema']} ({counted(one['count'], 'file')})" for one in figures["schemas"]]
    if figures["tokenizer_fault"]:
        lines.append(f"  no estimate of tokens: {figures['tokenizer_fault']}")
    if longest := figures.get("longest_sample"):
        lines.append(
            f"  longest sample: {longest['tokens']:,} tokens ({longest['file']}, row {longest['row']})"
        )
    if figures.get("overlong_rows"):
        lines.append(f"  longer than max_sample_length: {figures['overlong_rows']:,} of the rows looked at")
    by_source = figures.get("tokens_by_source", {})
    rows = [("source", "share of rows", "tokens")]
    rows += [
        (name or "(none)", _share(found["row_share"]), f"{by_source[name]:,}" if name in by_source else "")
        for name, found in figures["sources"].items()
    ]
    return [*map(printable, lines), *(f"  {printable(line)}" for line in table(rows))]


def _tokens(figures: Document) -> str:
    """`12,300,000 ± 410,000`; without the ± where all rows were looked at."""
    spread = figures["tokens_plus_minus"]
    if spread is None:
        return f"{figures['tokens']:,} ± ?"
    return f"{figures['tokens']:,}" + (f" ± {spread:,}" if spread else "")


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _names(files: Document) -> str:
    """`a.parquet, b.parquet and 3 more`."""
    rest = files["count"] - len(files["first"])
    return printable(", ".join(files["first"])) + (f" and {rest:,} more" if rest else "")
