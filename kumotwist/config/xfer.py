"""Where mail goes that another node of ours is to have: the URL of its API."""

from urllib.parse import urlsplit

from kumotwist.config.fields import BadValue, shown

_LONGEST = 200  # characters


def parse_target(text: str) -> str:
    """The URL of another node's API, without a path.  Raises BadValue."""
    url = text.strip().rstrip("/").lower()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    whole = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or whole != url or len(url) > _LONGEST:
        raise BadValue(f"{shown(text)} is not the URL of another node, such as https://mta2.example.com:8000")
    if not url.isascii() or any(one in url for one in "@! \t\\%") or not url.isprintable():
        raise BadValue(f"{shown(text)} has characters that no node's URL has")
    return url
