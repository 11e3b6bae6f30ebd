"""What is text in a text cell: without formulas, pictures, tables, code and folded answers."""

import re

FOLDED = re.compile(r"<details.*?</details>", re.S | re.I)
CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.S | re.M)
COMMENT = re.compile(r"<!--.*?-->", re.S)
DISPLAYED_FORMULA = re.compile(r"\$\$.*?\$\$", re.S)
FORMULA = re.compile(r"\$[^$\n]+\$")
TABLE_ROW = re.compile(r"^ *\|.*$", re.M)
PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
TAG = re.compile(r"</?[a-zA-Z][^>]*>")
PICTURE_TAG = re.compile(r"<img\b[^>]*>", re.I)
ALTERNATIVE = re.compile(r"""\balt\s*=\s*(["'])(.*?)\1""", re.S | re.I)
CODE = re.compile(r"`([^`\n]+)`")
DOTTED_NAME = re.compile(r"(?<![\w./-])minivl(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?<![\w./-])minivl/[\w./-]*\w")


def words(text: str) -> int:
    """The words one reads: not folded answers; a formula within a sentence counts as one."""
    for pattern, instead in (
        (FOLDED, " "),
        (CODE_BLOCK, " "),
        (COMMENT, " "),
        (DISPLAYED_FORMULA, " "),
        (FORMULA, " formula "),
        (PICTURE, " "),
        (LINK, r"\1"),
        (TAG, " "),
    ):
        text = pattern.sub(instead, text)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def words_in_sentences(text: str) -> int:
    """As `words`, without tables."""
    return words(TABLE_ROW.sub("", FOLDED.sub(" ", text)))


def silent_pictures(text: str) -> list[str]:
    """Pictures that say nothing to whoever cannot see them: no alternative text."""
    found = [match[0] for match in PICTURE.finditer(text) if not match[1].strip()]
    for tag in PICTURE_TAG.findall(text):
        alternative = ALTERNATIVE.search(tag)
        if alternative is None or not alternative[2].strip():
            found.append(tag)
    return found


def names(text: str) -> list[str]:
    """Names such as `minivl.nn.vit.patchify` that stand as code in a text."""
    return [name for code in CODE.findall(text) for name in DOTTED_NAME.findall(code)]


def files(text: str) -> list[str]:
    """Paths such as `minivl/nn/vit.py` that stand as code in a text."""
    return [path for code in CODE.findall(text) for path in FILE.findall(code)]
