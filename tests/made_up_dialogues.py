"""Dialogue files whose failures are known, with a detector and an embedder that need no model."""

import json

import numpy as np

from advsim.records import Assessment, FailureLabel, Visibility, chatbot_turns


class FindsShould:
    """Every chatbot message with "should" is premature advice; from the second turn on it takes the dialogue to see."""

    name = "finds-should"
    modes = ("premature_advice", "overload")

    def assess(self, dialogues, *, advance=None):
        found = []
        for dialogue in dialogues:
            for turn, said in chatbot_turns(dialogue):
                label = FailureLabel(
                    conversation_id=dialogue.id,
                    turn=turn,
                    mode="premature_advice",
                    severity=2,
                    span="should",
                    detector=self.name,
                    confidence=0.9,
                    visibility=Visibility.TRAJECTORY if turn > 1 else Visibility.MESSAGE,
                )
                labels = (label,) if "should" in said.text else ()
                found.append(Assessment(conversation_id=dialogue.id, turn=turn, detector=self.name, labels=labels))
            if advance is not None:
                advance(1)
        return found


class ByLength:
    def embed(self, texts):
        vectors = np.array([[1.0, len(text) % 7, len(text) % 5] for text in texts]).reshape(-1, 3)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(path, *, num=14, turns=3, advice=0.5, chatbot=True, ending="."):
    """Dialogues in the messages shape; the first ``advice`` of the chatbot's messages of each give advice."""
    with path.open("w") as stream:
        for number in range(num):
            messages = []
            for turn in range(turns):
                said = f"I feel {('sad', 'tired', 'lost')[(number + turn) % 3]} about thing {number} {turn}{ending}"
                messages.append({"role": "user", "content": said})
                if chatbot:
                    reply = "You should sleep." if turn < advice * turns else "What happened?"
                    messages.append({"role": "assistant", "content": f"{reply} {turn}"})
            line = {"id": f"{path.stem}-{number}", "user_id": f"u{number}", "messages": messages}
            stream.write(json.dumps(line) + "\n")
    return path
