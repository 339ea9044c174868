"""Figures and conversations of a made-up run, in the shape that a run folder has them."""

from __future__ import annotations

from typing import Any

from advsim.config import parse_config
from advsim.corpus.load import load_corpus
from advsim.records import Conversation, NextTurn, Speaker, Split, StopReason, Turn
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.layout import held_out_turns, round_folder
from advsim.run_folder.tables import conversations_table, to_table, turns_table


def held_out(surface: float, context: float, *, measurable: bool = True, half: float = 0.05) -> dict[str, Any]:
    def family(name: str, accuracy: float, *, finds: float, is_measurable: bool) -> dict[str, Any]:
        return {
            "accuracy": accuracy,
            "low": accuracy - half,
            "high": accuracy + half,
            "auc": accuracy + 0.04,
            "auc_low": accuracy - 0.02,
            "auc_high": accuracy + 0.1,
            "p_value": 0.01 if accuracy > 0.55 else 0.24,
            "null_high": 0.545,
            "auc_p_value": 0.01,
            "auc_null_high": 0.56,
            "num_permutations": 99,
            "num_prefixes": 240,
            "num_dialogues": 118,
            "power": {
                "zero_shot": 0.94 if is_measurable else 0.61,
                "shuffled": finds,
                "repeated": 0.71,
                "truncated": 0.63,
            },
            "length_only": 0.56,
            "user_only": 0.63 if name == "context" else None,
            "measurable": is_measurable,
            "gate": "the classifier finds its control with AUC " + ("0.94" if is_measurable else "0.66 (< 0.85)"),
            "notes": [],
            "accuracy_at_turn": {
                "1": {"value": accuracy - 0.03, "low": accuracy - 0.1, "high": accuracy + 0.04, "n": 96},
                "2": {"value": accuracy, "n": 80},
                "5": {"value": accuracy + 0.03, "n": 44},
                "10": {"value": accuracy + 0.01, "n": 20},
            },
            "auc_at_turn": {"1": {"value": accuracy + 0.01, "low": accuracy - 0.06, "high": accuracy + 0.08, "n": 96}},
        }

    return {
        "surface": family("surface", surface, finds=0.52, is_measurable=measurable),
        "context": family("context", context, finds=0.91 if measurable else 0.66, is_measurable=measurable),
    }


def diversity(scale: float, words: float) -> dict[str, Any]:
    return {
        "ttr": 0.31 * scale,
        "mattr": 0.82 * scale**0.4,
        "mtld": 71.0 * scale,
        "distinct_1": 0.21 * scale,
        "distinct_2": 0.66 * scale**0.8,
        "distinct_3": 0.89 * scale**0.5,
        "entropy": 8.7 * scale**0.3,
        "mean_turn_words": words,
        "num_tokens": 3500,
        "num_turns": 240,
    }


def make_round(number: int, *, accuracy: float, surface: float, context: float, scale: float) -> dict[str, Any]:
    return {
        "round": number,
        "rollout": {
            "num_conversations": 64,
            "num_failed": 1,
            "output_tokens_per_s": 92.4,
            "stop_reasons": {"end_token": 30 + 2 * number, "max_turns": 30 - 2 * number, "empty_turn": 3, "error": 1},
            "num_regenerated": 5,
        },
        "discriminator": {
            "accuracy": accuracy,
            "auc": accuracy + 0.04,
            "f1": accuracy - 0.01,
            "mcc": 2 * accuracy - 1,
            "accuracy_at_turn": {"1": {"value": accuracy - 0.1, "n": 20}, "5": {"value": accuracy, "n": 14}},
        },
        "held_out": held_out(surface, context),
        "preference": {"num_pairs": 122 - number, "mean_margin": 4.2 / number},
        "dpo": {"first_step_loss": 0.6931, "last_step_loss": 0.512, "reward_accuracy": 0.74, "num_steps": 31},
        "push": {"version": number, "sha256": "c0ffee12" * 8, "num_engines": 2, "max_ms": 48.2},
        "diversity": {"real": diversity(1.0, 21.7), "simulated": diversity(scale, 27.7 - 2 * number)},
        "stop": {
            "reason": "continue" if number == 1 else "max_rounds",
            "explanation": "The configured number of rounds is done." if number > 1 else "Realism is still improving.",
            "notes": ["The length-only classifier has accuracy 0.56."],
        },
        "seconds": {
            "rollout": 402.1,
            "discriminator": 188.0,
            "preference": 164.0,
            "dpo": 210.5,
            "push": 0.4,
            "held_out": 96.0,
        },
    }


TEXTS = (
    ("User", "hi. so i havent slept properly since the move, maybe 4 hours a night"),
    ("Chatbot", "That sounds exhausting. What goes through your mind when you lie awake?"),
    ("User", "mostly work. my new manager checks everything i do and i keep waiting for the mail that says im out"),
    ("Chatbot", "Waiting for bad news night after night is hard. Has she said anything that points to it?"),
    ("User", "no, not really. she even said thanks on friday. i just dont believe it"),
    ("Chatbot", "So there was a thank you, and still it does not land. What would make it believable?"),
    ("User", "good question… ill think about that. thanks"),
)


def turns(rest: str = "") -> tuple[Turn, ...]:
    return tuple(Turn(speaker=Speaker(who.lower()), text=text + rest) for who, text in TEXTS)


def conversation(number: int, scenario: str, *, text: str = "") -> Conversation:
    return Conversation(
        id=f"r{number}-{scenario}",
        scenario_id=scenario,
        chatbot="warm-brief",
        simulator_version=number - 1,
        simulator_sha256="abcdef0123456789",
        turns=turns(text),
        stop_reason=StopReason.END_TOKEN,
        num_prompt_tokens=900,
        num_output_tokens=140,
        seed=1,
    )


def write_run(location: str, *, name: str = "made-up", text: str = "", num_rounds: int = 2) -> RunDir:
    """A run folder as a run on the sample dialogues leaves it: figures, conversations, next turns and journal."""
    config = parse_config({"name": "made-up"})
    corpus = load_corpus(config.corpus)
    scenarios = corpus.split(Split.TRAIN)
    held = [dialogue for dialogue in corpus.split(Split.VALIDATION) if dialogue.turns[0].speaker is Speaker.USER]
    run = RunDir(location)
    run.write_json(
        "manifest.json",
        {
            "name": name,
            "config": config.model_dump(mode="json"),
            "versions": {"advsim": "0.1.0", "torch": text or "2.13.0"},
            "seed": 0,
            "corpus": {"num_dialogues": len(corpus.dialogues), "sha256": corpus.sha256, "splits": {}},
            "started_at": "2026-11-23T09:12:40+00:00",
        },
    )
    run.write_json("baseline.json", {"sft": {"diversity": diversity(0.84, 27.7), "held_out": held_out(0.66, 0.74)}})
    journal = Journal(run)
    journal.complete("baseline", outputs=["baseline.json"], seconds=1.0)
    said = [
        NextTurn(dialogue_id=it.id, turn=2, text=f"so i said {number}{text}", finished=True)
        for number, it in enumerate(held[:12])
    ]
    for version in range(-1, num_rounds + 1):
        run.write_table(held_out_turns(version), to_table(said, NextTurn))
    for number in range(1, num_rounds + 1):
        folder = round_folder(number)
        spoken = [conversation(number, scenario.id, text=text) for scenario in scenarios[:12]]
        run.write_table(f"{folder}/conversations.parquet", conversations_table(spoken))
        run.write_table(f"{folder}/turns.parquet", turns_table(spoken))
        run.write_json(f"{folder}/metrics.json", make_round(number, accuracy=0.8, surface=0.6, context=0.7, scale=0.9))
        journal.complete(f"rounds/{number}", outputs=[folder], inputs=["baseline.json"], seconds=1.0)
    return run
