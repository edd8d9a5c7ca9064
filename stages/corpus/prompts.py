"""The same request in other words.

A prompt is taken apart into politeness, opening and request, and put together with another opening; a few words and
phrases are exchanged for others that say the same. What is quoted, code, numbers, pins and names is never touched, and
a result in which any of it differs is thrown away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

# Spans that are kept as they are: code, quotes, addresses, and all capitalised names but the first word.
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^”\n]*”|https?://\S+|(?m:^(?: {4}|\t).*$)", re.DOTALL)
_KEPT = re.compile(
    r"\d+(?:\.\d+)?|\b(?:GP|GPIO|IO|pins?) ?\d+|\b[A-Z]\w*[A-Z0-9]\w*|\b(?:Raspberry Pi|Pico|MicroPython|Wi-?Fi|ESP\w*)\b",
    re.IGNORECASE,
)
