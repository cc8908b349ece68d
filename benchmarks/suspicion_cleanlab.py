"""The rival of benchmarks/suspicion.py: cleanlab's scores, in its own environment.

    suspicion_cleanlab.py rows.npz [tokens.npz]

Reads labels and out-of-fold probabilities that our models gave, and prints one JSON object of
scores by method: for rows self-confidence and normalized margin, for words the worst one's.
"""

import json
import sys

import numpy as np
from cleanlab.rank import get_label_quality_scores
from cleanlab.token_classification.rank import get_label_quality_scores as word_scores


def main() -> None:
    """Score what is given."""
    given = np.load(sys.argv[1])
    found = {}
    for method in ("self_confidence", "normalized_margin"):
        scores = get_label_quality_scores(given["labels"], given["probabilities"], method=method)
        found[method] = scores.tolist()
    if len(sys.argv) > 2:
        words = np.load(sys.argv[2])
        cuts = np.cumsum(words["counts"])[:-1]
        labels = [list(part) for part in np.split(words["labels"], cuts)]
        probabilities = np.split(words["probabilities"], cuts)
        for method in ("self_confidence", "normalized_margin"):
            scores, _ = word_scores(labels, probabilities, token_score_method=method)
            found[f"words, {method}"] = scores.tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
