"""Compare two chatbots: which fails how often with simulated users, and can those users be trusted?

    python examples/compare_two_chatbots.py
    python examples/compare_two_chatbots.py --run runs/mine --chatbots a.yaml b.yaml

Without a run, a small one is made by SFT on the sample dialogues. Both chatbots meet its simulated users, and both
answer the same real people, one message each; the two rates of each chatbot are then set side by side.
"""

import argparse
from pathlib import Path

import advsim
from advsim.chatbots.load import load_chatbots

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CHATBOTS = [str(CONFIGS / "chatbots" / name) for name in ("lecture.yaml", "person_centred.yaml")]
SFT_ONLY = ["name=example_sft", "sft.max_steps=6", "stop.max_rounds=0"]


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description="Compare two chatbots with simulated and real users.")
    parser.add_argument("--run", help="folder of a finished run; default: a small one is made")
    parser.add_argument("--chatbots", nargs=2, default=CHATBOTS, metavar="FILE", help="see configs/chatbots/")
    parser.add_argument("--num-conversations", type=int, default=12, help="of each chatbot")
    parser.add_argument("--num-prefixes", type=int, default=24, help="real prefixes that each chatbot answers")
    options = parser.parse_args()
    settings = {
        "run": options.run or advsim.train(CONFIGS / "quickstart.yaml", overrides=SFT_ONLY).folder.location,
        "chatbots": options.chatbots,
        "num_conversations": options.num_conversations,
        "num_prefixes": options.num_prefixes,
        "baseline": load_chatbots(options.chatbots[1])[0].name,
    }
    num_rounds = len(advsim.load_run(settings["run"]).rounds)
    settings["simulators"] = [f"round_{num_rounds}" if num_rounds else "sft"]  # the newest
    (result,) = advsim.run_sweep({**settings, "output": f"{settings['run']}/two_chatbots"})

    print("\nMessages in which the rules find a failure, with 95 % intervals:")
    for chatbot in result.validity.pairs:
        for users, rate in (("simulated users", chatbot.simulated), ("real users", chatbot.real)):
            print(f"  {chatbot.configuration:20} {users:16} {shown(rate.estimate, rate.low, rate.high)}")
    for test in result.ab.pairs:
        for users, less in (("simulated users", test.simulated), ("real users", test.real)):
            print(f"  {'difference':20} {users:16} {shown(less.difference, less.low, less.high)}")
    print(f"\nCan the simulated users be trusted? {result.validity.sentence}")


def shown(share: float | None, low: float | None, high: float | None) -> str:
    """A share in percent with its bounds, where there are any."""
    if share is None:
        return "nothing could be judged"
    bounds = "too few dialogues" if low is None or high is None else f"{low:.1%} to {high:.1%}"
    return f"{share:.1%} ({bounds})"


if __name__ == "__main__":
    main()
