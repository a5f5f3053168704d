"""Features of a text for the plain baseline: TF-IDF of its words and pairs of words."""

from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer

from spotkit.data.examples import Prepared

NAME = "TF-IDF with logistic regression"
# Words of two or more letters or digits; single characters in Japanese and Chinese, which put no spaces between words.
WORDS = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]{2,}"


def features() -> Any:
    """Return the vectoriser that turns texts into features; baseline.py fits it on the training split."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=50_000, token_pattern=WORDS)


def contents(prepared: Prepared, rows: range) -> list[str]:
    """Return the texts of these rows."""
    return [prepared[row]["text"] for row in rows]
