"""TF-IDF over words and pieces of words, for the scikit-learn text trainers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from hitl_bridge.stages.trainers import Labelled, Unlabelled

Matrix: TypeAlias = Any
"""Sparse, of float32: a row a text."""

_FIELD = "text"
_MANY = 500
"""From here on a term must occur twice: rare terms cost time, add nothing, and are where names hide."""


def texts_of(items: Sequence[Labelled] | Sequence[Unlabelled]) -> list[str]:
    return [str(item.input[_FIELD]) for item in items]


def fitted_features(texts: Sequence[str]) -> tuple[FeatureUnion, Matrix]:
    """What makes features of texts, fitted to these, and their features."""
    features = FeatureUnion(_vectorizers(texts))
    matrix = features.fit_transform(texts)
    for _, vectorizer in features.transformer_list:
        # scikit-learn notes an address in memory here, which would make every file another one.
        vars(vectorizer).pop("_stop_words_id", None)
    return features, matrix


def _vectorizers(texts: Sequence[str]) -> list[tuple[str, TfidfVectorizer]]:
    """Words, and pieces of words; whichever finds no term in these texts (only emoji, say) is left out."""
    least = 2 if len(texts) >= _MANY else 1
    settings = {"token_pattern": r"(?u)\b\w+\b", "ngram_range": (1, 2)}
    words = TfidfVectorizer(**settings, sublinear_tf=True, min_df=least, dtype=np.float32)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=least, dtype=np.float32)
    everything = TfidfVectorizer(analyzer="char", ngram_range=(1, 1), dtype=np.float32)
    useful = [(name, each) for name, each in (("words", words), ("pieces", pieces)) if _finds_terms(each, texts)]
    return useful or [("characters", everything)]


def _finds_terms(vectorizer: TfidfVectorizer, texts: Sequence[str]) -> bool:
    try:
        vectorizer.fit(texts)
    except ValueError:  # scikit-learn's word for "empty vocabulary"
        return False
    return True
