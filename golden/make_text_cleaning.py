"""Writes what CLIP's text cleaning makes of captions, into data/text_cleaning.json: `basic_clean` and `whitespace_clean`
of openai/CLIP, `clip/simple_tokenizer.py`, which CleanCLIP uses unchanged.

    python3 -m venv venv && venv/bin/pip install ftfy
    venv/bin/python golden/make_text_cleaning.py                      # the project's own
    venv/bin/python golden/make_text_cleaning.py FOLDER 4000 1        # 4000 others by seed 1, for CLEANBENCH_GOLDEN

Written with ftfy 6.3.1 on Python 3.11. `captions` are pairs of a caption and its cleaned text. `entities` are texts that
`html.unescape` is applied to once, with its result: every name of HTML5 with a semicolon, without it, and before a letter
and an equals sign, and numbers.
"""

import html
import json
import random
import re
import sys
from html.entities import html5
from pathlib import Path

import ftfy

OWN = Path(__file__).parent / "data"

NOUNS = (
    "a café in São Paulo|the Champs-Élysées at night|naïve art by a señor|jalapeño peppers|a Škoda in Zürich|smørrebrød|"
    "crème brûlée|the Øresund bridge|Dvořák's grave|a façade in Málaga|Kraków's old town|a piñata|Łódź|"
    "Москва, Красная площадь|Αθήνα|東京タワー|서울의 밤|北京|ภูเก็ต|ירושלים|القاهرة|Đà Nẵng|İstanbul|"
    "a dog|two men in suits|the actor at the premiere|a football player celebrates|vector illustration of a cat|"
    "biological species in the snow|interior of a church|a woman holding a phone|the band performs on stage"
).split("|")
FRAMES = (
    "{}|a photo of {}.|{} – close-up|{} — stock image|“{}” by the sea|it's {}|it’s {}|‘{}’|«{}»|{}…|{}...|{} & friends|"
    "Rock ’n’ roll: {}|{} (2014)|{} for £5|{} at 30°C|½ of {}|{}™|{} ® and ©|{} 😀|👨‍👩‍👧 {}|{} ❤️|#{}|<b>{}</b>|"
    "{} < 3|{} > {}|100% {}|5 € {}|{}\u00a0here|{} × {}|{}; {}|{} | {}|price: $4.99 {}|{} -- {}|¿{}?|¡{}!|{} №5"
).split("|")
CODECS = ["latin-1", "windows-1252", "windows-1252", "windows-1252", "windows-1251", "windows-1250", "windows-1253",
          "windows-1254", "windows-1257", "iso-8859-2", "macroman", "cp437"]
ENTITIES = [name for name in html5 if name.endswith(";")]
COMMON = ["amp;", "lt;", "gt;", "quot;", "nbsp;", "eacute;", "rsquo;", "ldquo;", "rdquo;", "ndash;", "mdash;", "hellip;", "copy;",
          "trade;", "euro;", "pound;", "deg;", "times;", "uuml;", "Ouml;", "AMP;", "EACUTE;", "amp", "lt", "eacute", "copy",
          "notit;", "not", "ampersand", "times"]


def sloppy(data, codec):
    """Bytes as a careless program shows them."""
    out = []
    for byte in data:
        try:
            out.append(bytes([byte]).decode(codec))
        except UnicodeDecodeError:
            out.append(chr(byte))
    return "".join(out)


def mojibake(draw, text):
    return sloppy(text.encode("utf-8"), draw.choice(CODECS))


def entity(draw):
    kind = draw.random()
    if kind < 0.5:
        return "&" + draw.choice(COMMON)
    if kind < 0.6:
        return "&" + draw.choice(ENTITIES)
    number = draw.choice([39, 34, 8217, 233, 150, 128, 153, 160, 0, 0x1F600, 0xD800, 0x110000, 13, 1, 65533, draw.randrange(40, 9000)])
    return draw.choice(["&#{};", "&#{}", "&#x{:x};", "&#X{:X};"]).format(number)


def wide(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" if c == " " else c for c in text)


def inserted(draw, text, piece):
    at = draw.randrange(len(text) + 1)
    return text[:at] + piece + text[at:]


def caption(draw):
    frame = draw.choice(FRAMES)
    text = frame.format(*(draw.choice(NOUNS) for _ in range(frame.count("{}"))))
    for _ in range(draw.choice([0, 1, 1, 1, 2])):
        change = draw.randrange(17)
        if change <= 3:
            text = mojibake(draw, text)
        elif change == 4:
            text = mojibake(draw, mojibake(draw, text))
        elif change == 5:
            text = mojibake(draw, text).replace("\u00a0", " ")
        elif change <= 8:
            text = inserted(draw, text, entity(draw))
        elif change == 9:
            text = html.escape(text)
        elif change == 10:
            text = html.escape(html.escape(text))
        elif change == 11:
            text = inserted(draw, text, draw.choice(["\ufeff", "\u200b", "\u200d", "\u00ad", "\u2028", "\x85", "\x00", "\x07", "\x7f",
                                                     "\r\n", "\r", "\t", "\n", "\x1b[31m", "\ufffc", "\u206a", "\ufffd", "\u0301", "\x93", "\x9f"]))
        elif change == 12:
            text = wide(text)
        elif change == 13:
            text = text.replace("fi", "ﬁ").replace("fl", "ﬂ").replace("ff", "ﬀ") + draw.choice(["", " ﬁsh", " eﬃcient", " Ĳssel", " ŉ"])
        elif change == 14:
            text = draw.choice(["\ufeff", " ", "\u3000", "\n"]) + text + draw.choice(["\r\n", "  ", "\u00a0", ""])
        elif change == 15:
            text = draw.choice([mojibake(draw, text) + " " + text, text + " " + mojibake(draw, draw.choice(NOUNS))])
        else:
            text = sloppy(text.encode("utf-8"), "windows-1252").replace("â€™", "â€?").replace("Ã©", "Ã\ufffd")
    # A file of UTF-8 holds no halves of surrogate pairs.
    return text.encode("utf-8", "replace").decode("utf-8")


def clean(text):
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


def entities(draw):
    texts = []
    for name in html5:
        bare = name.rstrip(";")
        texts += [f"&{bare};", f"&{bare}", f"x&{bare}y", f"&{bare}=1"]
    for number in [*range(0, 0x180), *range(0xD7F0, 0xD810), 0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFE, 0x10FFFF, 0x110000, 10**12]:
        texts += [draw.choice(["&#{};", "&#{}", "&#x{:x};", "&#X{:X}g", "&#{}x"]).format(number)]
    texts += ["&", "&&amp;", "&;", "&#;", "&#x;", "&#xg;", "&amp;amp;lt;", "&notit;", "&notin;", "&no", "&Amp;", "&#38;amp;",
              "&#9999999999999999999999;", "a&b;c", "&" + "a" * 40 + ";", "&amp&amp;&lt"]
    changed = [[text, html.unescape(text)] for text in dict.fromkeys(texts)]
    return [pair if pair[0] != pair[1] else pair[:1] for pair in changed]


def main():
    folder, count, seed = OWN, 3000, 0
    if len(sys.argv) > 1:
        folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
        folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    texts = dict.fromkeys(caption(draw) for _ in range(count))
    pairs = [[text, clean(text)] for text in texts]
    pairs = [pair if pair[0] != pair[1] else pair[:1] for pair in pairs]
    made = {"captions": pairs, "entities": entities(draw)}
    (folder / "text_cleaning.json").write_text(json.dumps(made, ensure_ascii=True, separators=(",", ":")))
    print(f"{len(pairs)} captions, {sum(len(pair) == 2 for pair in pairs)} of them changed; {len(made['entities'])} entities")


main()
