"""Makes tests/nltk_synonyms.txt: the synonyms that the released EDA gets from NLTK for some words, one word a line.

    python3 make_nltk_synonyms.py DATA [COUNT] > ../tests/nltk_synonyms.txt

DATA holds corpora/wordnet: WordNet 3.0's dict files and lists of irregular forms (make_wordnet.py says where
from), lexnames (any 45 lines of number, name and part of speech) and an empty cntlist.rev. Made with NLTK 3.8.1, of
2023 as the released code, which names no version; later ones do not apply the rules of detachment again where nothing
is found. The words: those of captions, then lemmas drawn from WordNet, bare and with endings, and irregular forms.
"""

import pathlib
import random
import re
import sys

import nltk

nltk.data.path = [sys.argv[1]]
from nltk.corpus import wordnet  # noqa: E402

CAPTION = """a an the of two three dogs men women children photos pictures painting glasses scissors standing sitting
running bigger biggest better best went striped background left geese knives leaves wolves lying dying boxes dishes
churches quizzes flies tying bluer ally us as has was axes oxen data media lens series jeans news ss es ies ing ed er
banana bananas street views drawn larger happier oclock maam photo near next black white"""


def synonyms(word):
    names = {lemma.name().lower() for synset in wordnet.synsets(word) for lemma in synset.lemmas()}
    spaced = {name.replace("_", " ").replace("-", " ") for name in names}
    words = {" ".join(re.sub("[^a-z ]", "", name).split()) for name in spaced}
    return sorted(words - {word, ""})


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    draw = random.Random(0)
    plain = sorted(name for name in set(wordnet.all_lemma_names()) if re.fullmatch("[a-z]+", name))
    words = set(CAPTION.split())
    for ending in ["", "s", "es", "ed", "ing", "er", "est", "men", "ss"]:
        for lemma in draw.sample(plain, count):
            words.add(lemma + ending)
            words.add(re.sub("[ey]$", "", lemma) + ending)
            words.add(re.sub("y$", "i", lemma) + ending)
    for part in ["noun", "verb", "adj", "adv"]:
        lines = (pathlib.Path(sys.argv[1]) / f"corpora/wordnet/{part}.exc").read_text().splitlines()
        words.update(line.split()[0] for line in draw.sample(lines, min(count, len(lines))))
    for word in sorted(word for word in words if re.fullmatch("[a-z]+", word)):
        print(f"{word}:{','.join(synonyms(word))}")


main()
