#!/usr/bin/env python3
"""Writes data/statistics.json: what SciPy says of small samples, for the tests of harness::statistics.

    python3 -m venv venv && venv/bin/pip install scipy && venv/bin/python golden/make_statistics.py
"""

import json
from pathlib import Path

import numpy as np
import scipy
from scipy import stats

generator = np.random.default_rng(0)


def sample(count, mean, deviation, digits):
    return [round(float(value), digits) for value in generator.normal(mean, deviation, count)]


def two_groups(first, second, margin):
    """Welch's test, equivalence by two one-sided tests, and the interval of the first mean."""
    welch = stats.ttest_ind(first, second, equal_var=False)
    shifted = [stats.ttest_ind(first, np.add(second, shift), equal_var=False, alternative=side).pvalue
               for shift, side in ((-margin, "greater"), (margin, "less"))]
    interval = stats.t.interval(0.95, len(first) - 1, loc=np.mean(first), scale=stats.sem(first))
    return {"first": first, "second": second, "margin": margin, "welch_p": welch.pvalue, "degrees": welch.df,
            "equivalence_p": max(shifted), "interval_95": list(interval)}


def pairs(differences):
    """Exact tests on paired differences: all signs of the ranks where some are equal."""
    kept = np.array([value for value in differences if value != 0.0])
    everything = stats.PermutationMethod(n_resamples=np.inf)
    return {"differences": differences, "wilcoxon_p": stats.wilcoxon(kept, method=everything).pvalue,
            "sign_p": stats.binomtest(int((kept > 0).sum()), len(kept)).pvalue}


def main():
    groups = [two_groups(sample(a, 0.6, 0.02, 6), sample(b, mean, spread, 6), 0.03)
              for a, b, mean, spread in ((3, 3, 0.6, 0.02), (3, 5, 0.7, 0.1), (10, 4, 0.61, 0.01), (2, 2, 0.6, 0.3))]
    paired = [pairs(sample(n, mean, 1.0, digits))
              for n, mean, digits in ((2, 1.0, 3), (5, 1.0, 3), (12, 0.5, 3), (12, 0.3, 0), (15, 0.2, 1), (8, -2.0, 0))]
    path = Path(__file__).parent / "data/statistics.json"
    path.write_text(json.dumps({"scipy": scipy.__version__, "groups": groups, "pairs": paired}, indent=1) + "\n")


if __name__ == "__main__":
    main()
