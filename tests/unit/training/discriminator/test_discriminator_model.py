import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from advsim.config import DiscriminatorConfig, LoraConfig, ModelConfig
from advsim.errors import RunError
from advsim.records import Context, Speaker, Turn
from advsim.training.discriminator.actors import DiscriminatorActor
from advsim.training.discriminator.inputs import UserView, scoring_request
from advsim.training.discriminator.model import Discriminator

CONFIG = DiscriminatorConfig(
    lora=LoraConfig(r=8, alpha=16, dropout=0.0, target_modules=("q_proj", "k_proj", "v_proj", "o_proj")),
    learning_rate=2e-2,
    num_epochs=3.0,
    batch_size=8,
    held_out_fraction=0.2,
    max_tokens=256,
)
REAL_WORDS = ("i", "sad", "work", "idk", "tired")
SIMULATED_WORDS = ("I", "am", "feeling", "Indeed.", "overwhelmed")


def views(words, *, kind, num=40, end=False):
    made = []
    for i in range(num):
        rng = random.Random(f"{kind}-{i}")
        turns = []
        for t in range(rng.choice((3, 5, 7))):
            speaker = (Speaker.USER, Speaker.CHATBOT)[t % 2]
            text = " ".join(rng.choices(words if speaker is Speaker.USER else ("hello", "why"), k=rng.randint(2, 6)))
            turns.append(Turn(speaker=speaker, text=text))
        if end:
            turns[-1] = replace(turns[-1], text=f"{turns[-1].text} [END]")
        context = Context(session=f"about work {i}")
        made.append(UserView(conversation_id=f"{kind}-{i}", scenario_id=f"s{i}", context=context, turns=tuple(turns)))
    return made


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    steps = []
    discriminator, metrics = Discriminator.train(
        base=tiny_model,
        real=views(REAL_WORDS, kind="real"),
        simulated=views(SIMULATED_WORDS, kind="simulated"),
        config=CONFIG,
        seed=0,
        output_dir=folder,
        on_step=lambda *step: steps.append(step),
    )
    return discriminator, metrics, folder, steps


def p_real(discriminator, seen):
    return [turn.p_real for turns in discriminator.score(seen) for turn in turns]


def test_separable_turns_are_told_apart_on_held_out_scenarios(trained):
    _, metrics, _, steps = trained
    assert metrics.auc > 0.9
    assert metrics.accuracy > 0.85
    assert metrics.num_held_out_scenarios == 8
    assert metrics.num_train_turns + metrics.num_held_out_turns == sum(
        sum(turn.speaker is Speaker.USER for turn in view.turns)
        for words, kind in ((REAL_WORDS, "real"), (SIMULATED_WORDS, "simulated"))
        for view in views(words, kind=kind)
    )
    assert [step for step, _, _ in steps] == list(range(1, 25))
    assert steps[-1][2] < steps[0][2]


def test_a_set_that_differs_in_the_end_token_alone_gives_chance(tiny_model, tmp_path):
    _, metrics = Discriminator.train(
        base=tiny_model,
        real=views(REAL_WORDS, kind="same"),
        simulated=views(REAL_WORDS, kind="same", end=True),
        config=CONFIG,
        seed=0,
        output_dir=tmp_path,
    )
    assert metrics.auc == pytest.approx(0.5, abs=1e-6)


def test_scores_are_those_of_the_right_turns(trained):
    discriminator, *_ = trained
    seen = views(REAL_WORDS, kind="new", num=9)
    together = discriminator.score(seen)
    for view, turns in zip(seen, together, strict=True):
        assert [turn.turn for turn in turns] == list(range(0, len(view.turns), 2))
        assert [turn.user_turn for turn in turns] == list(range(1, len(turns) + 1))
        assert {turn.conversation_id for turn in turns} == {view.conversation_id}
        alone = discriminator.score([view])[0]
        assert [t.p_real for t in turns] == pytest.approx([t.p_real for t in alone], abs=1e-5)


def test_later_turns_do_not_change_the_score_of_earlier_ones(trained):
    discriminator, *_ = trained
    view = views(REAL_WORDS, kind="new")[0]
    start = replace(view, turns=view.turns[:1], complete=False)
    whole = replace(view, complete=False)
    assert p_real(discriminator, [whole])[0] == pytest.approx(p_real(discriminator, [start])[0], abs=1e-5)


@pytest.mark.parametrize("max_tokens", [256, 80])
def test_long_dialogues_get_every_turn_scored(tiny_model, trained, max_tokens):
    *_, folder, _ = trained
    config = CONFIG.model_copy(update={"max_tokens": max_tokens})
    discriminator = Discriminator.load(folder, base=tiny_model, config=config)
    turns = tuple(turn for view in views(REAL_WORDS, kind="new", num=9) for turn in view.turns[:2])
    view = replace(views(REAL_WORDS, kind="new")[0], turns=turns)
    assert [turn.turn for turn in discriminator.score([view])[0]] == list(range(0, len(turns), 2))


def test_scores_are_equal_after_save_and_load(tiny_model, trained):
    discriminator, _, folder, _ = trained
    assert (folder / "adapter_model.safetensors").is_file()
    loaded = Discriminator.load(folder, base=tiny_model, config=CONFIG)
    seen = views(REAL_WORDS, kind="new", num=5) + views(SIMULATED_WORDS, kind="new", num=5)
    assert p_real(loaded, seen) == p_real(discriminator, seen)


def test_bfloat16_trains_float32_weights_and_loads_equal_scores(tiny_model, tmp_path):
    options = {"base": tiny_model, "config": CONFIG, "dtype": "bfloat16"}
    discriminator, metrics = Discriminator.train(
        real=views(REAL_WORDS, kind="real"),
        simulated=views(SIMULATED_WORDS, kind="simulated"),
        seed=0,
        output_dir=tmp_path,
        **options,
    )
    assert metrics.auc > 0.9
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    seen = views(SIMULATED_WORDS, kind="new", num=5)
    assert p_real(Discriminator.load(tmp_path, **options), seen) == p_real(discriminator, seen)


@pytest.mark.parametrize("visible_turns", ["user", "all"])
@pytest.mark.parametrize("with_prefix", [True, False])
def test_cached_candidate_scores_equal_those_of_full_inputs(tiny_model, trained, visible_turns, with_prefix):
    *_, folder, _ = trained
    config = CONFIG.model_copy(update={"visible_turns": visible_turns, "scoring_batch_size": 3})
    discriminator = Discriminator.load(folder, base=tiny_model, config=config)
    view = views(REAL_WORDS, kind="new")[1]
    if not with_prefix:
        view = replace(view, context=Context(), turns=view.turns[:1])
    texts = ("sad work idk", "Indeed. overwhelmed", "i", "", "tired " * 9, "sad [END]", "I am feeling")
    last = len(view.turns) - 1
    full = [
        replace(view, turns=(*view.turns[:last], Turn(speaker=Speaker.USER, text=text)), complete=False)
        for text in texts
    ]
    expected = [discriminator.score([seen])[0][-1].p_real for seen in full]
    got = discriminator.score_candidates(scoring_request(view, turn=last, texts=texts))
    assert got == pytest.approx(expected, abs=1e-3)
    assert max(got) - min(got) > 0.1


def test_training_repeats_with_the_same_seed(tiny_model, tmp_path):
    sides = {"real": views(REAL_WORDS, kind="real", num=8), "simulated": views(SIMULATED_WORDS, kind="sim", num=8)}

    def scores(seed):
        discriminator, _ = Discriminator.train(
            base=tiny_model, config=CONFIG, seed=seed, output_dir=tmp_path / str(seed), **sides
        )
        return p_real(discriminator, sides["real"])

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)


def test_micro_batches_give_the_same_training(tiny_model, tmp_path):
    sides = {"real": views(REAL_WORDS, kind="real", num=8), "simulated": views(SIMULATED_WORDS, kind="sim", num=8)}
    scores = []
    for tokens in (64, 100_000):
        discriminator, _ = Discriminator.train(
            base=tiny_model,
            config=CONFIG.model_copy(update={"micro_batch_tokens": tokens}),
            seed=0,
            output_dir=tmp_path / str(tokens),
            **sides,
        )
        scores.append(p_real(discriminator, sides["real"]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_training_without_simulated_turns_is_refused(tiny_model, tmp_path):
    with pytest.raises(RunError, match="0 simulated views"):
        Discriminator.train(
            base=tiny_model,
            real=views(REAL_WORDS, kind="real", num=4),
            simulated=[],
            config=CONFIG,
            seed=0,
            output_dir=tmp_path,
        )


def test_a_loss_that_is_not_finite_stops_the_training(tiny_model, tmp_path):
    with pytest.raises(RunError, match=r"is nan.*learning_rate"):
        Discriminator.train(
            base=tiny_model,
            real=views(REAL_WORDS, kind="real"),
            simulated=views(SIMULATED_WORDS, kind="simulated"),
            config=CONFIG.model_copy(update={"learning_rate": 1e30}),
            seed=0,
            output_dir=tmp_path,
        )


def test_a_second_actor_loads_the_files_of_the_first_and_scores_alike(tiny_model):
    model = ModelConfig(path=str(tiny_model))
    first, second = (DiscriminatorActor(model, CONFIG, False, torch.get_num_threads()) for _ in range(2))
    assert second.ping()
    seen = views(REAL_WORDS, kind="new", num=2)
    with pytest.raises(RuntimeError, match="no discriminator"):
        second.score(seen)
    metrics, files = first.train(views(REAL_WORDS, kind="real"), views(SIMULATED_WORDS, kind="simulated"), 0)
    assert metrics.auc > 0.9
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors"}
    second.load(files)
    assert repr(second.score(seen)) == repr(first.score(seen))  # rewards are NaN, which equals nothing
    request = scoring_request(seen[0], turn=2, texts=("sad", "Indeed."))
    assert second.score_candidates(request) == first.score_candidates(request)
    second.release()
    with pytest.raises(RuntimeError, match="no discriminator"):
        second.score(seen)
    second.load(files)
    assert second.score_candidates(request) == first.score_candidates(request)


def test_saved_files_say_nothing_of_the_machine(tiny_model, trained):
    *_, folder, _ = trained
    assert str(tiny_model) not in (folder / "adapter_config.json").read_text()
