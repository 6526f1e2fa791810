"""Writes the tables of CLIP's text cleaning, into crates/clip/assets/.

    python3 -m venv venv && venv/bin/pip install ftfy
    venv/bin/python golden/make_text_tables.py

`mojibake.txt` is what ftfy (Robyn Speer, Apache-2.0) knows of text in the wrong encoding. A line each, name and value with
a tab between: the expressions of `ftfy.badness` and `ftfy.chardata` in the syntax of the Rust crate `regex`, and for each
single-byte encoding, in ftfy's order, the characters of bytes 0x80 to 0xff. `entities.txt` are the names of HTML5, of
Python's `html.entities`, with the characters that they stand for. Numbers are hexadecimal. Written with ftfy 6.3.1 on
Python 3.11.
"""

import re
from html.entities import html5
from pathlib import Path

import ftfy.bad_codecs.sloppy  # noqa: F401 (registers the codecs)
from ftfy import badness, chardata

ASSETS = Path(__file__).parent.parent / "crates/clip/assets"


def plain(pattern):
    """A verbose expression without what verbose ones pass over, in Rust's syntax and ASCII."""
    out, at, in_class = [], 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            escape = pattern[at : at + 2]
            # Python's classes: marks are no letters there, and four controls are white space.
            known = {"\\w": "[\\p{L}\\p{N}_]", "\\s": "[\\s\\x1c-\\x1f]"}
            out.append(known.get(escape) or pattern[at : at + 4])
            at += 2 if escape in known else 4
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "#":
            at = pattern.index("\n", at)
            continue
        elif character.isspace():
            at += 1
            continue
        out.append(character if " " < character < "\x7f" else f"\\x{{{ord(character):x}}}")
        at += 1
    return "".join(out)


def numbers(text):
    return " ".join(f"{ord(character):x}" for character in text)


def write(name, lines):
    (ASSETS / name).write_text("".join(f"{name}\t{value}\n" for name, value in lines))


def main():
    detector = chardata.UTF8_DETECTOR_RE.pattern
    before, after = detector.split(")", 1)
    assert before.strip().startswith("(?<!")
    lines = [
        ("badness", plain(badness.BADNESS_RE.pattern)),
        ("detector", plain(after)),
        ("not-before-detector", plain(before.split("(?<!")[1])),
    ]
    for name in chardata.CHARMAP_ENCODINGS:
        lines.append((name, numbers(bytes(range(0x80, 0x100)).decode(name))))
    write("mojibake.txt", lines)
    write("entities.txt", sorted((name, numbers(value)) for name, value in html5.items()))
    for name, value in lines[:3]:
        assert all(ord(c) < 128 for c in value), name
        re.compile(re.sub(r"\\x\{(\w+)\}", lambda m: re.escape(chr(int(m[1], 16))), value.replace("\\p{L}\\p{N}", "\\w")))


main()
