"""What the Hugging Face Hub reads at the head of a model card (github.com/huggingface/hub-docs, modelcard.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# The Hub's names of the licences that a text may come with; others are `other` there (hub-docs, repositories-licenses).
LICENSES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "c-uda", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "gpl-2.0", "gpl-3.0", "isc",
    "lgpl-2.1", "lgpl-3.0", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "ofl-1.1", "osl-3.0", "postgresql",
    "unlicense", "wtfpl", "zlib",
}  # fmt: skip
_HUB_MODEL = re.compile(r"(?!\.)[\w-][\w.-]*(/[\w-][\w.-]*)?(@[\w./-]+)?", re.ASCII)
_HUB_DATASET = re.compile(r"https://huggingface\.co/datasets/([\w-][\w.-]*/[\w-][\w.-]*)(?:[/@]|$)", re.ASCII)
MOST_NAME = 96


def front_matter(facts: Mapping[str, Any]) -> str:
    """YAML between its rules, without what is empty."""
    import yaml

    told = {key: value for key, value in facts.items() if value}
    return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)}---"


def license_fields(licenses: Iterable[str], base_model: str) -> dict[str, str]:
    """The Hub's `license`: its own name where all texts have that one, else `other` with a name and the file to read.

    `licenses` are SPDX expressions. What a base model demands is not known here, so that it makes any licence `other`.
    """
    names = sorted({name for expression in licenses for name in _parts(expression.lower())})
    known = re.sub(r"-(only|or-later)$", "", names[0]) if len(names) == 1 else ""
    if known in LICENSES and not base_model:
        return {"license": known}
    named = [re.sub(r"[^a-z0-9.]+", "-", name).strip("-") for name in names]
    name = "-and-".join(dict.fromkeys([*filter(None, named), *(["base-model"] if base_model else [])]))
    return {
        "license": "other",
        "license_name": name if 0 < len(name) <= MOST_NAME else "several",
        "license_link": "LICENSE",
    }


def _parts(expression: str) -> list[str]:
    return [expression] if " or " in expression else expression.split(" and ")


def hub_model(init_from: str, folder: bool) -> str:
    """The name on the Hub of what training started from; empty where that was a folder, or nothing."""
    if folder or not _HUB_MODEL.fullmatch(init_from):
        return ""
    return init_from.partition("@")[0]


def hub_datasets(sources: Iterable[str]) -> list[str]:
    """The names of those sources that are data sets on the Hub."""
    found = (_HUB_DATASET.match(source.removeprefix("url:").removeprefix("git:")) for source in sources)
    return sorted({match[1].removesuffix(".git") for match in found if match})


def model_index(name: str, dataset: str, metrics: Sequence[tuple[str, str, float]]) -> list[dict[str, Any]]:
    """Results as the Hub shows them: each metric has a type, a name and a value."""
    if not metrics:
        return []
    result = {
        "task": {"type": "text-generation", "name": "Text generation"},
        "dataset": {"type": "validation", "name": dataset, "split": "validation"},
        "metrics": [{"type": kind, "name": title, "value": value} for kind, title, value in metrics],
    }
    return [{"name": name, "results": [result]}]
