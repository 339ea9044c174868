"""The person of ``advsim serve`` as the user simulator of LangWatch Scenario.

    pip install langwatch-scenario
    export ADVSIM_SERVE_KEY=...
    python langwatch_scenario_user.py --base-url http://127.0.0.1:8000/v1 --person quickstart --scenario sample-a-003

Scenario's own user simulator is asked as any model is, with what the person said before as 'assistant' and with a
system message that explains the game. Both are said in the request: ``roles`` model, ``system`` ignore.
"""

import argparse
import asyncio
import json
import os
from typing import Any

import scenario

LEFT = "[left]"
"""Asked for as the mark behind the last message of a person who leaves."""


class Chatbot(scenario.AgentAdapter):
    """In place of your chatbot."""

    async def call(self, input: scenario.AgentInput) -> scenario.AgentReturnTypes:
        """Its reply."""
        return f"I hear you. What was it like? ({len(input.messages)} messages so far)"


async def dialogue(options: argparse.Namespace, number: int) -> dict[str, Any]:
    """One dialogue, until the person leaves."""
    person = scenario.UserSimulatorAgent(
        model=f"openai/{options.person}",
        api_base=options.base_url,
        api_key=os.environ["ADVSIM_SERVE_KEY"],
        temperature=1.0,  # Scenario's default is 0, with which every person says the same
        extra_body={
            "advsim": {"scenario": options.scenario, "roles": "model", "system": "ignore", "end_text": LEFT},
        },
    )

    async def take_turns(state: scenario.ScenarioState) -> None:
        for _ in range(options.max_turns):
            await scenario.user()(state)
            if LEFT in str(state.messages[-1]["content"]):
                break
            await scenario.agent()(state)

    result = await scenario.run(
        name=f"person {number}",
        description="a person of a trained simulator",
        agents=[Chatbot(), person],
        script=[take_turns, scenario.succeed()],
    )
    turns = [{"role": message["role"], "content": str(message["content"])} for message in result.messages]
    return {"left": any(LEFT in turn["content"] for turn in turns), "turns": turns}


def main() -> None:
    """Hold dialogues and print them as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--person", default="quickstart", help="model of the server")
    parser.add_argument("--scenario", required=True, help="id of a scenario of the server")
    parser.add_argument("--max-turns", type=int, default=6)
    parser.add_argument("--num-people", type=int, default=2)
    options = parser.parse_args()
    for number in range(options.num_people):
        print(json.dumps(asyncio.run(dialogue(options, number))))


if __name__ == "__main__":
    main()
