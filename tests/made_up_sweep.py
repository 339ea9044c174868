"""A finished sweep with known outcomes, without a run or engines."""

from pathlib import Path

from advsim.config import EvaluateConfig
from advsim.detectors.build import detector_stamp
from advsim.rates.outcomes import MessageOutcome
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import plain_values
from advsim.sweep.outcomes import OUTCOMES, REPLAY, RESULT, MadeFrom, outcomes_table


def messages(chatbot, failing, *, num_dialogues=40, num_messages=3, mode="boundary"):
    """``failing`` of the messages fail, spread over dialogues; dialogue i of every chatbot is of person i."""
    return [
        MessageOutcome(
            configuration=chatbot,
            dialogue_id=f"{chatbot}-{i}",
            user_id=f"person {i}",
            turn=2 * j + 1,
            modes=frozenset({mode} if j * num_dialogues + i < failing else ()),
        )
        for i in range(num_dialogues)
        for j in range(num_messages)
    ]


def write_sweep(
    folder: Path, simulated, *, replay=None, modes=("boundary",), evaluate=None, baseline="calm", max_user_turns=3
) -> str:
    """Write what ``advsim sweep`` writes; returns the folder.

    Args:
        folder: of the sweep.
        simulated: messages by simulator and chatbot.
        replay: messages by chatbot.
        modes: that the detector measures.
        evaluate: settings of the detector; rules by default.
        baseline: of the sweep.
        max_user_turns: of a conversation.
    """
    output = RunDir(str(folder))
    chatbots = list(next(iter(simulated.values())))
    sides = {**simulated, REPLAY: replay or {name: [] for name in chatbots}}
    output.write_table(OUTCOMES, outcomes_table(sides))
    config = evaluate or EvaluateConfig(detector="rules")
    made_from = MadeFrom(
        run="r",
        corpus_sha256="c" * 64,
        model_sha256="d" * 64,
        adapters=dict.fromkeys(simulated, "e" * 64),
        chatbots=dict.fromkeys(chatbots, "f" * 64),
        evaluate=config.model_dump(mode="json"),
        detector=detector_stamp(config),
        versions={"advsim": "0.1.0"},
        outcomes_sha256=output.sha256(OUTCOMES),
    )
    output.write_json(
        RESULT,
        {
            "run": "runs/r",
            "detector": config.detector,
            "modes": list(modes),
            "num_chatbots": len(chatbots),
            "num_conversations": 40,
            "num_prefixes": 80,
            "max_user_turns": max_user_turns,
            "baseline": baseline,
            "seed": 0,
            "made_from": plain_values(made_from),
            "simulators": [],
        },
    )
    return str(folder)
