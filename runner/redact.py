"""Secrets, found by how they are named or where they stand in a URL, taken out of text that is kept or shown.

Standard library only, and pure: whoever writes or prints decides what goes through here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_NAME = (
    r"(?:[A-Za-z0-9_-]*_)?"
    r"(?:TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE"
    r"|API_?KEY|ACCESS_?KEY(?:_ID)?|SECRET_?KEY|PRIVATE_?KEY|AUTH_?KEY)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""(?P<before>(?<![A-Za-z0-9_])["']?{_NAME}["']?\s*[=:]\s*)(?P<value><redacted[^>]*>|"[^"]*"|'[^']*'|[^\s,;&}}\]"']+)""",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<secret>[^\s\"'@]*:[^\s\"'@]*)@")
_QUERY = re.compile(
    r"(?P<before>[?&](?:[A-Za-z0-9_.-]*(?:token|secret|password|signature|credential|access_?key|api_?key)"
    r"[A-Za-z0-9_.-]*|sig|key)=)(?!<redacted )(?P<secret>[^\s\"'&]+)",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether the value of a variable of that name is a secret, such as HF_TOKEN or AWS_SECRET_ACCESS_KEY."""
    return _SECRET_NAME.fullmatch(name) is not None


def has_credentials(url: str) -> bool:
    """Whether a URL holds a password, or an option that is a secret."""
    return bool(_USERINFO.search(url) or _QUERY.search(url))


def redacted(text: str) -> str:
    """The text with every secret that can be told by its name or place replaced by a mark of it."""
    text = _USERINFO.sub(lambda found: f"{found['scheme']}{_mark(found['secret'])}@", text)
    text = _QUERY.sub(lambda found: f"{found['before']}{_mark(found['secret'])}", text)
    return _ASSIGNED.sub(lambda found: f"{found['before']}{_marked_value(found['value'])}", text)


def redacted_words(words: Sequence[str]) -> list[str]:
    """The same of each word, such as those of a command line."""
    return [redacted(word) for word in words]


def masked(line: str) -> str:
    """A line of a file with every secret replaced by as many stars, so that columns stay where they are."""
    for pattern, group in ((_USERINFO, "secret"), (_QUERY, "secret"), (_ASSIGNED, "value")):
        line = pattern.sub(lambda found, group=group: _starred(found, group), line)  # type: ignore[misc]
    return line


def _starred(found: re.Match[str], group: str) -> str:
    begins, ends = (place - found.start() for place in found.span(group))
    secret = found[group]
    quote = secret[0] if secret[0] in "\"'" else ""
    stars = quote + "*" * (len(secret) - 2 * len(quote)) + quote
    return found[0][:begins] + stars + found[0][ends:]


def _marked_value(value: str) -> str:
    quote = value[:1] if value[:1] in ("'", '"') else ""
    bare = value[1:-1] if quote else value
    return f"{quote}{_mark(bare)}{quote}" if bare and not bare.startswith("<redacted ") else value


def _mark(secret: str) -> str:
    """Tells two secrets apart and gives neither away."""
    return f"<redacted sha256:{hashlib.sha256(secret.encode()).hexdigest()[:8]}>"
