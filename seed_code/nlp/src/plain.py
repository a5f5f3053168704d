"""What the plain baseline sees of a text: its words and pairs of them, by TF-IDF."""

from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer

from examples import Prepared

NAME = "TF-IDF with logistic regression"
# Words of two letters or more; of scripts that put no spaces between words, each sign.
WORDS = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]{2,}"


def features() -> Any:
    """What turns the contents into numbers, learned from those of training."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=50_000, token_pattern=WORDS)


def contents(prepared: Prepared, rows: range) -> list[str]:
    """The texts of some examples."""
    return [prepared[row]["text"] for row in rows]
