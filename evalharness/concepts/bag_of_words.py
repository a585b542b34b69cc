"""What words alone achieve on the held-out check: the same stories, the same split, word counts instead of residuals.

Printed beside the check and never required. A bag of words may well read the stories better than a small model does,
and that refutes nothing: the claim under test is that the *model* carries the concept, for which the twin of random
weights is the control. It says how much of the task is vocabulary, which a reader needs to judge the numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from evalharness.concepts.battery_record import BagOfWords
from evalharness.concepts.check import HeldOut, Means, read_held_out

MOST_WORDS = 2000
"""The words that stand in most stories; rarer ones would make the table large and say little."""
_WORD = re.compile(r"[^\W\d_]+")


def read_bag_of_words(held_out: HeldOut, texts: Sequence[str]) -> BagOfWords:
    """Read the stories by `read_held_out`, each as a vector of (1 + log count) x idf of its words."""
    table_X1V = word_vectors(texts)
    readings = read_held_out(held_out, table_X1V)
    return BagOfWords(top1=readings.top1, top5=readings.top5, n=readings.n, n_words=table_X1V.shape[2])


def word_vectors(texts: Sequence[str]) -> Means:
    """`[X, 1, V]`: the middle axis is where a residual has its layers. Inverse frequencies are over these texts.

    Words of a held-out story count towards the frequencies: they carry no label, so nothing leaks.
    """
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    stands_in = Counter(word for count in counts for word in count)
    # Ties by spelling, so that the same stories give the same vocabulary.
    words = sorted(stands_in, key=lambda word: (-stands_in[word], word))[:MOST_WORDS]
    column = {word: place for place, word in enumerate(words)}
    table_XV = np.zeros((len(texts), max(1, len(words))), np.float32)
    for row, count in enumerate(counts):
        for word, times in count.items():
            if word in column:
                table_XV[row, column[word]] = (1 + np.log(times)) * np.log(len(texts) / stands_in[word])
    return table_XV[:, None]
