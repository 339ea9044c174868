"""How simulator and discriminator are trained, and what is measured of them on held-out prefixes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advsim.config.base import (
    Count,
    CountOrZero,
    Epochs,
    Fraction,
    InnerFraction,
    LearningRate,
    Section,
    Tokens,
    WeightDecay,
)
from advsim.config.model import LoraConfig, ModelConfig, SamplingConfig


class SftConfig(Section):
    """Supervised fine-tuning on real user turns; done once, gives adapter 0."""

    num_epochs: Epochs = 2.0
    learning_rate: LearningRate = 5e-4
    """LoRA on a model of 135 M parameters wants more than the 1e-5 to 1e-4 usual at full size."""
    batch_size: Count = 4
    """Dialogues a step and worker."""
    gradient_accumulation: Count = 1
    warmup_fraction: Fraction = 0.05
    weight_decay: WeightDecay = 0.0
    max_steps: Count | None = None
    """Stop after so many optimizer steps, whatever the epochs; None for no limit."""


class PrefixesConfig(Section):
    """The probe: a linear discriminator on the frozen base model's features, of turns on the same real prefix."""

    num_prefixes: Count = 400
    """Real training prefixes of a round on which the simulator draws; each round chooses anew."""
    num_folds: Annotated[int, Field(ge=2, le=1_000, strict=True)] = 5
    """Of the training dialogues: draws are scored by a probe that saw none of their user's turns."""
    num_components: Count = 150
    """Principal components of the features."""
    inverse_penalty: Annotated[float, Field(gt=0.0, le=1_000.0, strict=True)] = 0.001
    """C of the logistic regression."""


class DiscriminatorConfig(Section):
    """Tells real user turns from simulated ones. Defaults are [ref] unless said otherwise.

    On conversations it is a token classifier with LoRA adapters, on prefixes a probe (``prefixes``); the keys beside
    ``on``, ``model`` and ``prefixes`` are those of the classifier.
    """

    on: Literal["conversations", "prefixes"] = "conversations"
    """What it is trained on and where pairs come from: whole conversations with the chatbot against real dialogues
    [ref], or the simulator's draws on real prefixes against what people said there."""
    prefixes: PrefixesConfig = PrefixesConfig()
    model: ModelConfig | None = None
    """None: the simulator's base model."""
    lora: LoraConfig = LoraConfig(r=16, alpha=32, dropout=0.05, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))
    learning_rate: LearningRate = 2e-4
    num_epochs: Epochs = 1.0
    batch_size: Count = 16
    warmup_fraction: Fraction = 0.1
    weight_decay: WeightDecay = 0.01
    held_out_fraction: InnerFraction = 0.15
    visible_turns: Literal["user", "all"] = "user"
    """``user``: context and user turns only [ref]. ``all`` shows the chatbot's turns too: it then measures how well the
    turns fit each other, and partly the chatbot itself."""
    max_tokens: Annotated[int, Field(ge=64, le=10_000_000, strict=True)] = 1024
    scoring_batch_size: Count = 16
    micro_batch_tokens: Tokens = 1024
    """Padded tokens of one forward and backward pass: a batch of more is split and its gradients are added up. Bounds
    the memory of training (about 1.5 MB a token at 135 M parameters) and changes nothing else."""

    @model_validator(mode="after")
    def _all_of_effect(self) -> DiscriminatorConfig:
        """Refuse settings of the other kind of discriminator."""
        fields = type(self).model_fields
        of_probe = {"prefixes"}
        of_classifier = set(fields) - of_probe - {"on", "model", "scoring_batch_size"}
        unread = of_probe if self.on == "conversations" else of_classifier
        changed = sorted(name for name in unread if getattr(self, name) != fields[name].default)
        if changed:
            raise ValueError(
                f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'} no effect with on: {self.on}; take it "
                "out, or change discriminator.on"
            )
        return self


class PreferenceConfig(Section):
    """From scored turns to preference pairs; defaults are [ref]."""

    num_lowest_turns: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 2
    """User turns of a conversation that get candidates: those of lowest reward."""
    num_candidates: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 8
    """New candidates a turn, beside the text the conversation has; on prefixes draws a prefix, at least 2."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, top_p=1.0, max_tokens=256)
    min_margin: Annotated[float, Field(ge=0.0, le=100.0, strict=True)] = 0.0
    """Pairs whose rewards differ by less are dropped."""
    keep_fraction: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 1.0
    """Share of the pairs kept, by margin."""
    max_pairs_per_turn: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 1
    """Best against worst, then the next of those left, and so on; no candidate is in two pairs."""
    max_length_ratio: Annotated[float, Field(ge=1.0, le=1_000.0, strict=True)] | None = None
    """Tokens of a pair's longer text to those of its shorter one, at most: sums of log-probabilities reward short
    turns where the chosen ones are shorter. None for no bound."""


class DpoConfig(Section):
    """Direct preference optimisation of the simulator, from the current adapter."""

    beta: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1.0
    """Strength of the pull to the reference [ref]."""
    loss: Literal["sigmoid", "calibrated", "sigmoid_norm", "ipo", "sft"] = "sigmoid"
    """``sigmoid`` pushes chosen and rejected apart without end [ref]. ``calibrated`` fits their log-ratios to the
    difference of the discriminator's log-odds, and stops there (EXO, arXiv 2402.00856; at beta 1 they become equal).
    ``sigmoid_norm`` and ``ipo`` take means over a turn's tokens, so that its length has no weight, and want a larger
    beta. ``sft`` learns the chosen turns and leaves the rejected ones alone (rejection sampling)."""
    sft_weight: Annotated[float, Field(ge=0.0, le=100.0, strict=True)] = 0.0
    """Weight of the chosen turns' own loss, in nats a token, beside that of the preference: keeps them likely."""
    learning_rate: LearningRate = 1e-6
    """1e-6 is [ref] for a full-size model; a small LoRA model hardly moves at it and wants 1e-5 to 2e-4."""
    num_epochs: Epochs = 1.0
    batch_size: Count = 4
    """Pairs a step and worker. With one worker on CPU it counts turns: all pairs of a turn share one pass over their
    prompt, and each turn weighs the same."""
    gradient_accumulation: Count = 1
    warmup_fraction: Fraction = 0.0
    max_steps: Count | None = None

    @model_validator(mode="after")
    def _sft_once(self) -> DpoConfig:
        if self.loss == "sft" and self.sft_weight:
            raise ValueError("sft_weight adds to a loss over pairs the one that loss: sft is already; take it out")
        return self


class HeldOutConfig(Section):
    """Realism measured by classifiers that were never trained against, on next turns for real held-out prefixes."""

    num_prefixes: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = 64
    """Real validation prefixes on which the simulator writes the next user turn, each stage anew."""
    sampling: SamplingConfig = SamplingConfig()
    temperatures: tuple[Annotated[float, Field(gt=0.0, le=10.0, strict=True)], ...] = ()
    """Further temperatures at which the SFT simulator writes: its curve, with which every round is compared."""

    @model_validator(mode="after")
    def _temperatures_apart(self) -> HeldOutConfig:
        written = [f"{temperature:g}" for temperature in (self.sampling.temperature, *self.temperatures)]
        twice = sorted({each for each in written if written.count(each) > 1})
        if twice:
            raise ValueError(
                f"temperatures: {', '.join(twice)} stands there twice, or is that of held_out.sampling, which is "
                "measured in any case; take it out"
            )
        return self

    num_folds: Annotated[int, Field(ge=2, le=1_000, strict=True)] = 5
    num_bootstrap: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 25
    """Samples of users for intervals; the classifiers are fitted anew on each, which costs as much as a permutation."""
    num_permutations: CountOrZero = 99
    """Of labels, to fit the classifiers without any difference; p is at least 1 / (1 + this), 0 gives no p. On a small
    machine 99 cost about 5 s a round with 300 prefixes, 50 s with 1,000."""
    min_control_auc: Fraction = 0.85
    """A classifier counts only where it finds its controls with at least this AUC a turn."""


class StopConfig(Section):
    """When the rounds end."""

    min_discriminator_auc: Fraction = 0.55
    """A round on prefixes is not trained where the interval of its discriminator's AUC, on dialogues never seen,
    reaches below this. With too few validation users for an interval it is trained."""

    max_rounds: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 2
    """0 trains the SFT simulator only."""
    chance_margin: Fraction = 0.05
    """Stop when a measurable held-out classifier's interval ends below 0.5 + this margin."""
    divergence_margin: Fraction = 0.1
    """Stop when the trained-against discriminator's accuracy has fallen by at least this since the first round while a
    held-out classifier's has risen by at least this: over-optimisation."""
