"""Chatbots that are Python code, for function.yaml and session.yaml; in place of these, call your own."""

import asyncio


def reply(messages: list[dict[str, str]]) -> str:
    """A function gets all turns, oldest first, and returns the reply. It may as well be asynchronous."""
    said = messages[-1]["content"]
    num_turns = sum(message["role"] == "user" for message in messages)
    return f"You say: {said[:60]} What else should I know?" if num_turns < 3 else "Thank you for telling me all this."


class Bot:
    """A class is made anew for every conversation, and its ``reply`` gets the new message alone."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    async def reply(self, message: str) -> str:
        """The reply to the user's new message."""
        self._heard.append(message)
        await asyncio.sleep(0.01)  # where a real one would ask its model
        return "What happened then?" if len(self._heard) > 1 else "I am listening. What is on your mind?"
