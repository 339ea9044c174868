"""Train a user simulator on chat logs: how real are its users, and how often does the chatbot fail with them?

    python examples/train_on_your_logs.py                  the sample dialogues
    python examples/train_on_your_logs.py chats.jsonl      your own; docs/your_dialogues.md has their form

A try on the embedded model, too small for figures that mean something. -o overrides keys of configs/quickstart.yaml.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import advsim

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
SMALL = ["sft.max_steps=6", "dpo.max_steps=1", "stop.max_rounds=1"]
SMALL += ["rollout.max_user_turns=3", "preference.num_candidates=2"]


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description="Train a small user simulator on chat logs.")
    parser.add_argument("dialogues", nargs="?", help="a .jsonl, .jsonl.gz or .parquet file; default: the sample")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    corpus = ["name=example"]
    if options.dialogues:
        corpus = [f"name=example_{Path(options.dialogues).stem}", f"corpus.path={json.dumps(options.dialogues)}"]

    run = advsim.train(CONFIG, overrides=[*corpus, *SMALL, *options.overrides])
    print("\nHow often a classifier tells simulated users from real ones (.50: by chance only):")
    adapters = {name: run.baseline[name] for name in ("zero_shot", "sft")}
    adapters |= {f"round_{metrics['round']}": metrics for metrics in run.rounds}
    for name, metrics in adapters.items():
        print_realism(name, metrics["held_out"])

    print("\nMessages of the chatbot in which the rules find a failure:")
    for group in advsim.evaluate_run(run).groups:
        if group.failures is not None:
            rate = group.failures.rates["any"]
            bounds = "too few dialogues for an interval" if rate.low is None else f"{rate.low:.0%} to {rate.high:.0%}"
            print(f"  {group.name:10} {rate.estimate:.0%} of {rate.num_messages} ({bounds})")
    print(f"\nPages: {run.folder.location}/report/index.html, and evaluation.html beside it")


def print_realism(adapter: str, families: dict[str, Any]) -> None:
    """A line for each classifier that was never trained against."""
    for family, accuracy in families.items():
        bounds = "" if accuracy["low"] is None else f" ({accuracy['low']:.2f} to {accuracy['high']:.2f})"
        doubt = "" if accuracy["measurable"] else ", not measurable: it misses turns that are known not to be real"
        print(f"  {adapter:10} {family:8} {accuracy['accuracy']:.2f}{bounds}{doubt}")


if __name__ == "__main__":
    main()
