"""The probe: a linear discriminator on a frozen language model's features, trained on pairs on the same prefix.

Bradley and Terry's model of the pairs (real turn, simulated turn) of one prefix: the log-odds that the first is the
real one are the difference of two scores, each linear in its turn's features. What the prefix alone says falls out of
the difference, so that the probe learns of turns and not of situations. Shapes: N turns, D features, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from advsim.models.embedder import FloatArray
from advsim.run_folder.layout import PROBE_FILE

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Turns of many prefixes with their features.

    Attributes:
        features: shape (turns, features).
        prefix: number of each turn's prefix, shape (turns,).
        is_real: the turn that a person said there, shape (turns,).
    """

    features: FloatArray
    prefix: IntArray
    is_real: npt.NDArray[np.bool_]

    def only(self, kept: npt.NDArray[np.bool_]) -> Turns:
        """The turns that are kept, shape (turns,)."""
        return Turns(features=self.features[kept], prefix=self.prefix[kept], is_real=self.is_real[kept])

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Indices of the real and of the simulated turn of every pair on one prefix, each of shape (pairs,)."""
        real_of = dict(zip(self.prefix[self.is_real].tolist(), np.flatnonzero(self.is_real).tolist(), strict=True))
        simulated = [i for i in np.flatnonzero(~self.is_real).tolist() if int(self.prefix[i]) in real_of]
        return np.array([real_of[int(self.prefix[i])] for i in simulated], dtype=np.intp), np.array(simulated, np.intp)

    def pair_weights(self) -> FloatArray:
        """Weights under which each prefix weighs the same, shape (pairs,)."""
        _, simulated_P = self.pairs()
        return 1.0 / np.bincount(self.prefix[simulated_P])[self.prefix[simulated_P]]


def calibrated_slope(scores: FloatArray, turns: Turns) -> float:
    """By what scores have to be multiplied so that their differences are the log-odds of pairs.

    The penalty makes a probe too modest on turns it has seen, and too many features too sure on others: the slope is
    that of a logistic regression on scores of turns that their probe has not seen.

    Args:
        scores: out-of-fold, shape (turns,).
        turns: which they are.

    Returns:
        0 or more; 0 where the scores tell nothing.
    """
    spread = float(np.abs(_differences(scores[:, None], turns)).mean()) or 1.0
    (slope,) = _pair_coefficients(scores[:, None] / spread, turns, inverse_penalty=1e3)
    return max(0.0, float(slope) / spread)


def _differences(inputs_ND: FloatArray, turns: Turns) -> FloatArray:
    """Of the real turn's inputs and the simulated one's in every pair, shape (pairs, inputs)."""
    real_P, simulated_P = turns.pairs()
    return np.asarray(inputs_ND[real_P] - inputs_ND[simulated_P], dtype=np.float64)


def _pair_coefficients(inputs_ND: FloatArray, turns: Turns, *, inverse_penalty: float) -> FloatArray:
    """Coefficients of the log-odds that the first of a pair is the real one, shape (inputs,)."""
    differences = _differences(inputs_ND, turns)
    # Each pair stands both ways, so that the classes are even and there is no intercept.
    fitted = LogisticRegression(C=inverse_penalty, fit_intercept=False, max_iter=2000).fit(
        np.concatenate([differences, -differences]),
        np.repeat([True, False], len(differences)),
        sample_weight=np.tile(turns.pair_weights(), 2),
    )
    return np.asarray(fitted.coef_[0], dtype=np.float64)


class Probe:
    """Scores of turns: ``features @ weights + bias``, in log-odds of being real."""

    def __init__(self, weights_D: FloatArray, bias: float) -> None:
        self._weights_D = weights_D
        self._bias = bias

    @classmethod
    def fit(cls, turns: Turns, *, num_components: int, inverse_penalty: float) -> Probe:
        """Fit on the pairs of the turns, each prefix weighing the same.

        Scaling, principal components and logistic regression are all linear, so that one vector of weights is all that
        is kept. The bias makes real and simulated turns equally often right at 0.

        Args:
            turns: with real and simulated ones on the same prefixes.
            num_components: principal components of the scaled features, at most.
            inverse_penalty: C of the logistic regression.

        Raises:
            ValueError: there is no pair.
        """
        real_P, simulated_P = turns.pairs()
        if not len(real_P):
            raise ValueError("got no real and simulated turn on one prefix, expected at least one pair")
        scaler = StandardScaler().fit(turns.features)
        scaled = scaler.transform(turns.features)
        num_kept = min(num_components, *scaled.shape)
        pca = PCA(num_kept, svd_solver="randomized", random_state=0).fit(scaled)
        coefficients = _pair_coefficients(pca.transform(scaled), turns, inverse_penalty=inverse_penalty)
        weights_D = (coefficients @ pca.components_) / scaler.scale_
        scores = turns.features @ weights_D
        simulated_mean = np.average(scores[simulated_P], weights=turns.pair_weights())
        bias = -float(np.mean([scores[real_P].mean(), simulated_mean]))
        return cls(weights_D, bias)

    def times(self, slope: float) -> Probe:
        """The probe with all its log-odds multiplied."""
        return Probe(slope * self._weights_D, slope * self._bias)

    def score(self, features: FloatArray) -> FloatArray:
        """Log-odds of being real, shape (turns,)."""
        return np.asarray(features @ self._weights_D + self._bias, dtype=np.float64)

    def files(self) -> dict[str, bytes]:
        """What :meth:`of_files` reads, by name."""
        return {PROBE_FILE: save({"weights": self._weights_D, "bias": np.array([self._bias])})}

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Probe:
        """The probe that :meth:`files` wrote."""
        kept = load(files[PROBE_FILE])
        return cls(kept["weights"], float(kept["bias"][0]))
