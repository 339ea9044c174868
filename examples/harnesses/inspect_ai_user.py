"""The person of ``advsim serve`` as the user of an inspect_ai task, which is about the chatbot that meets them.

    pip install inspect-ai openai
    export ADVSIM_BASE_URL=http://127.0.0.1:8000/v1 ADVSIM_API_KEY=...
    python inspect_ai_user.py --person quickstart --chatbot openai/gpt-4o-mini --scenario sample-a-003

In a task's messages 'user' is the person and 'assistant' the chatbot: the server's default roles.
"""

import argparse
import json

from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

LEFT = "[left]"
"""Asked for as the mark behind the last message of a person who leaves."""


@solver
def meets_person(person: str, max_turns: int) -> Solver:
    """Let the person and the task's model take turns until the person leaves."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        own = {"end_text": LEFT} | ({"scenario": state.metadata["scenario"]} if state.metadata["scenario"] else {})
        config = GenerateConfig(extra_body={"advsim": own})
        model = get_model(f"openai-api/advsim/{person}", config=config)
        state.messages = [ChatMessageAssistant(content=state.input_text)]
        for _ in range(max_turns):
            said = (await model.generate(state.messages)).completion
            text = said.removesuffix(LEFT).strip()
            if text:
                state.messages.append(ChatMessageUser(content=text))
            if said.endswith(LEFT):
                state.metadata["left"] = True
                break
            state = await generate(state)
        return state

    return solve


@scorer(metrics=[mean()])
def num_user_turns() -> Scorer:
    """In place of a scorer of your own: how often the person wrote."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=sum(message.role == "user" for message in state.messages))

    return score


@task
def conversation(person: str, scenario: str, max_turns: int, num_people: int) -> Task:
    """Dialogues with a chatbot that greets."""
    samples = [
        Sample(id=number, input="Hello, what brings you here?", metadata={"scenario": scenario, "left": False})
        for number in range(num_people)
    ]
    return Task(dataset=samples, solver=meets_person(person, max_turns), scorer=num_user_turns())


def listens(*_: object) -> ModelOutput:
    """What a mock model says where no chatbot is given. With its usage, which it would fetch a tokenizer to count."""
    output = ModelOutput.from_content("mockllm/model", "I hear you. What was it like?")
    output.usage = ModelUsage()
    return output


def main() -> None:
    """Hold dialogues and print them as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--person", default="quickstart", help="model of the server")
    parser.add_argument("--chatbot", default="", help="any model of inspect_ai; default: a mock that listens")
    parser.add_argument("--scenario", default="", help="id of a scenario of the server")
    parser.add_argument("--max-turns", type=int, default=6)
    parser.add_argument("--num-people", type=int, default=2)
    parser.add_argument("--log-dir", default="logs")
    options = parser.parse_args()
    work = conversation(options.person, options.scenario, options.max_turns, options.num_people)
    chatbot = options.chatbot or get_model("mockllm/model", custom_outputs=listens)
    [log] = eval(work, model=chatbot, log_dir=options.log_dir, display="plain")
    if log.status != "success":
        raise SystemExit(f"inspect_ai: {log.status}: {log.error.message if log.error else ''}")
    for sample in log.samples or []:
        turns = [{"role": message.role, "content": message.text} for message in sample.messages]
        print(json.dumps({"left": sample.metadata["left"], "turns": turns}))


if __name__ == "__main__":
    main()
