"""The person of ``advsim serve`` as the user of DeepEval's conversation simulator.

    pip install deepeval openai
    export ADVSIM_SERVE_KEY=...
    python deepeval_user.py --base-url http://127.0.0.1:8000/v1 --person quickstart --scenario sample-a-003

DeepEval asks its simulator model by one long instruction with the dialogue as text in it. A trained person needs the
dialogue alone: the template below hands it over as JSON, and the model sends it on. In DeepEval's turns 'user' is the
person and 'assistant' the chatbot: the server's default roles.
"""

import argparse
import json
import os
from typing import Any

from deepeval.dataset import ConversationalGolden
from deepeval.models import DeepEvalBaseLLM
from deepeval.simulator import ConversationSimulator
from deepeval.simulator.controller.controller import end, proceed
from deepeval.simulator.simulation_graph import default_simulation_node
from deepeval.simulator.template import SimulationTemplate
from deepeval.test_case import Turn
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

LEFT = "[left]"
"""Asked for as the mark behind the last message of a person who leaves."""


class DialogueAlone(SimulationTemplate):
    """What the person is sent: who they are and what was said. ``golden.scenario`` may be the id of a scenario."""

    @staticmethod
    def simulate_first_user_turn(golden: ConversationalGolden, language: str) -> str:
        """The person writes first."""
        return DialogueAlone.simulate_user_turn(golden, [], language)

    @staticmethod
    def simulate_user_turn(golden: ConversationalGolden, turns: list[Turn], language: str) -> str:
        """The dialogue so far, as JSON."""
        return json.dumps(
            {
                "advsim": {"scenario": golden.scenario, "end_text": LEFT},
                "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            }
        )


class Person(DeepEvalBaseLLM):
    """The served person, as a model of DeepEval."""

    def __init__(self, base_url: str, name: str) -> None:
        self._keys: dict[str, Any] = {"base_url": base_url, "api_key": os.environ["ADVSIM_SERVE_KEY"]}
        super().__init__(name)

    def load_model(self) -> None:
        """Nothing to load."""

    def get_model_name(self) -> str:
        """For DeepEval's displays."""
        return f"advsim {self.name}"

    def generate(self, prompt: str, schema: type[BaseModel]) -> BaseModel:
        """The person's next message."""
        return self._read(OpenAI(**self._keys).chat.completions.create(**self._request(prompt)), schema)

    async def a_generate(self, prompt: str, schema: type[BaseModel]) -> BaseModel:
        """The person's next message."""
        return self._read(await AsyncOpenAI(**self._keys).chat.completions.create(**self._request(prompt)), schema)

    def _request(self, prompt: str) -> dict[str, Any]:
        asked = json.loads(prompt)
        return {"model": self.name, "messages": asked["messages"], "extra_body": {"advsim": asked["advsim"]}}

    def _read(self, answer: Any, schema: type[BaseModel]) -> BaseModel:
        return schema(simulated_input=answer.choices[0].message.content)


def person_left(last_user_turn: Turn | None) -> Any:
    """End the simulation where the person does; DeepEval's own controller would ask a judge."""
    return end("the person left") if last_user_turn and last_user_turn.content.endswith(LEFT) else proceed()


async def chatbot(input: str, turns: list[Turn]) -> Turn:
    """In place of your chatbot."""
    return Turn(role="assistant", content=f"I hear you. What was it like? ({len(turns)} messages so far)")


def main() -> None:
    """Hold dialogues and print them as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--person", default="quickstart", help="model of the server")
    parser.add_argument("--scenario", required=True, help="id of a scenario of the server")
    parser.add_argument("--max-turns", type=int, default=6)
    parser.add_argument("--num-people", type=int, default=2)
    options = parser.parse_args()
    golden = ConversationalGolden(
        scenario=options.scenario, turns=[Turn(role="assistant", content="Hello, what brings you here?")]
    )
    simulator = ConversationSimulator(
        model_callback=chatbot,
        simulator_model=Person(options.base_url, options.person),
        simulation_graph=default_simulation_node(template=DialogueAlone),
        stopping_controller=person_left,
    )
    cases = simulator.simulate([golden] * options.num_people, max_user_simulations=options.max_turns)
    for case in cases:
        turns = [{"role": turn.role, "content": turn.content} for turn in case.turns]
        left = any(turn["content"].endswith(LEFT) for turn in turns)
        print(json.dumps({"left": left, "turns": turns}))


if __name__ == "__main__":
    main()
