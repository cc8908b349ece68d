"""Files inside of texts, in base64: pictures, sounds, documents. Nothing is looked for in them.

Any key, card or account number can be a part of base64 by chance; to cut it out breaks the file.
"""

import re

# Of a text, as `data:` URLs are written; or all of a text, by what it is called and its length.
DATA_URL = r"data:[\w.+/-]*(?:;[\w.+-]+=[\w.+-]*)*;base64,[A-Za-z0-9+/_-]*={0,2}"
NAMES = {"data", "file_data", "b64_json"}  # of sounds, documents, pictures that a model drew
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
SHORTEST = 1024  # characters; no number and no key is that long
# Signs of no alphabet, one for each file of a text. One that is in the text stands for itself.
FIRST, MOST = 0xF0000, 65_000
MARK = re.compile(f"[{chr(FIRST)}-{chr(FIRST + MOST - 1)}]")
SET_ASIDE = re.compile(rf"({DATA_URL}|{MARK.pattern})")


def set_aside(text: str, key: str = "") -> tuple[str, list[str]]:
    """Return a text with a mark in place of each file, and the files."""
    if "base64," not in text:
        is_file = key in NAMES and len(text) >= SHORTEST and BASE64.fullmatch(text)
        return (chr(FIRST), [text]) if is_file else (text, [])
    first, *others = SET_ASIDE.split(text)
    files, rests = others[::2], others[1::2]
    if len(files) > MOST:
        return text, []
    return first + "".join(chr(FIRST + n) + rest for n, rest in enumerate(rests)), files


def put_back(text: str, files: list[str]) -> str:
    """Return the text with its files where their marks are left."""
    return MARK.sub(lambda mark: files[ord(mark[0]) - FIRST], text) if files else text
