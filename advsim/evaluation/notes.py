"""Notes for the reader of an evaluation: what was not judged, what is in no rate, which users can be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from advsim.config import CorpusConfig
from advsim.corpus.files import DialogueFile
from advsim.detectors.judge.judge import Judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy
from advsim.detectors.worth import MIN_PRECISION, Worth
from advsim.evaluation.calibration import Calibration
from advsim.evaluation.inputs import GroupInput
from advsim.evaluation.results import Group
from advsim.prompts.thoughts import RAISE_LIMIT
from advsim.records import Assessment, chatbot_turns
from advsim.validity.by_chatbot import ByChatbot

ONE_CHATBOT = (
    "One chatbot: agreement over configurations is undefined for 1 configuration. To compare several, evaluate files "
    "whose dialogues name theirs in the key chatbot."
)


def file_notes(file: DialogueFile, corpus: CorpusConfig) -> list[str]:
    """What of a file is not among its dialogues."""
    notes = []
    if file.num_dropped_turns:
        roles = ", ".join(corpus.drop_roles)
        notes.append(f"{file.name}: {file.num_dropped_turns} turns were left out, as corpus.drop_roles ({roles}) says.")
    if file.num_left_out:
        notes.append(f"{file.name}: {file.num_left_out} dialogues that break the schema were left out.")
    return notes


def same_people_notes(people: Collection[str], num_apart: int) -> list[str]:
    """Who is taken to be in both files, and how many are taken for others although their ids are equal.

    Args:
        people: of both files, as :func:`advsim.corpus.prefixes.user_of` names them.
        num_apart: others with equal ids.
    """
    notes = []
    if people:
        num_users = sum(name.startswith("user ") for name in people)
        kinds = [f"{num_users} user ids"] * bool(num_users)
        kinds += [f"{len(people) - num_users} ids of dialogues without a user"] * (len(people) > num_users)
        notes.append(
            f"Files: {' and '.join(kinds)} stand in both and are taken for the same people, who stay together in "
            "permutations, folds and intervals of differences."
        )
    if num_apart:
        notes.append(
            f"Files: {num_apart} ids stand in both without a dialogue in common, and are taken for different people. "
            "Where they name the same ones, say so: -o evaluate.same_users=true."
        )
    return notes


def one_sided_notes(files: Sequence[DialogueFile]) -> list[str]:
    """Which of two files holds users' turns alone, and which figures then say nothing of users."""
    alone = [file.name for file in files if not any(chatbot_turns(dialogue) for dialogue in file.dialogues)]
    if not 0 < len(alone) < len(files):
        return []
    return [
        f"{', '.join(alone)}: holds users' turns alone. The context classifier tells the files apart by the missing "
        "chatbot's turns: read the surface classifier, and the figure of user turns alone."
    ]


def chatbot_notes(compared: ByChatbot, groups: Sequence[Group]) -> list[str]:
    """Why chatbots are not compared, and which chatbots and dialogues are left out of the comparison."""
    notes = []
    references = [group for group in groups if group.is_reference]
    others = [group for group in groups if not group.is_reference]
    if references and compared.validity is None:
        notes.append(f"Chatbots: {compared.reason}; it needs chatbots of the same names in both files.")
    if compared.left_out:
        notes.append(f"Chatbots in one of the files only, left out of the agreement: {', '.join(compared.left_out)}.")
    if compared.validity is not None and compared.validity.left_out:
        silent = ", ".join(compared.validity.left_out)
        notes.append(f"Chatbots without a judged message in one of the files, left out of the agreement: {silent}.")
    for group, num_unnamed in zip((*others, *references), compared.num_unnamed, strict=False):
        if num_unnamed:
            notes.append(f"{group.name}: {num_unnamed} dialogues name no chatbot; they are in no figure by chatbot.")
    return notes


def detector_notes(detector: Detector, taxonomy: Taxonomy) -> list[str]:
    """Modes that the detector does not judge, and what a judge's answers took."""
    notes = []
    not_judged = [mode for mode in taxonomy.ids if mode not in detector.modes]
    if not_judged:
        notes.append(f"The detector {detector.name} does not judge: {', '.join(not_judged)}.")
    if isinstance(detector, Judge):
        cost = detector.cost
        notes.append(
            f"The judge took {cost.num_calls} calls ({cost.num_retries} of them repeated, {cost.num_too_long} too long "
            f"and asked again without the oldest turns), {cost.num_prompt_tokens} prompt and "
            f"{cost.num_completion_tokens} completion tokens as far as the server reported them; "
            f"{cost.num_unreadable} answers could not be read, and {cost.num_errors} of {cost.num_messages} messages "
            "got no verdict."
        )
        notes += detector.notes
    return notes


def worth_notes(worth: Worth | None, detector: Detector, modes: Collection[str], counted: Collection[str]) -> list[str]:
    """Which modes the detector cannot measure, or that nobody knows what it is worth."""
    if worth is None:
        return [
            f"How often the findings of the detector {detector.name} are right is not known. `advsim detectors measure "
            "--save FILE` measures it on labelled dialogues, and -o evaluate.worth=FILE makes the rates say so."
        ]
    left_out = [mode.mode for mode in worth.modes if mode.mode in detector.modes and mode.mode not in modes]
    if not left_out:
        return []
    return [
        f"Not measurable with the detector {detector.name}: {', '.join(left_out)}. On labelled dialogues its findings "
        f"of them are not shown to be right more often than {MIN_PRECISION:.0%}; they have no rate, test or verdict "
        + (
            "of their own, and count in any failure, which is shown to be."
            if set(left_out) & set(counted)
            else "and are not in any failure."
        )
    ]


def calibration_notes(calibration: Calibration, detector: Detector, inputs: Sequence[GroupInput]) -> list[str]:
    """What the labelled messages are, and how far a correction by them carries."""
    sizes = ", ".join(f"{num} {text}" for text, num in calibration.num_messages.items())
    notes = [
        f"Corrected rates: sensitivity and specificity of the detector {detector.name} are those on the labels of "
        f"{calibration.source} ({sizes}); they hold where it errs alike on the dialogues here.",
        "The corrected rate of any failure holds for the labelled mix of modes: a detector finds some modes more often "
        "than others.",
    ]
    if calibration.num_written:
        notes.append(
            f"{calibration.num_written} labelled messages were composed for calibration, not observed, and are plainer "
            "than logs: the correction carries over only as far as the detector errs alike there. Label some of your "
            "own."
        )
    shared = [group.name for group in inputs if group.dialogues and calibration.text_for(group.text) != group.text]
    if shared:
        notes.append(
            f"{', '.join(shared)}: one calibration with all labelled messages, because it is not known whether this "
            "text is real or simulated, or no label says that of its message."
        )
    return notes


def silent_replies(group: GroupInput) -> frozenset[tuple[str, int]]:
    """(dialogue id, turn) of the chatbot turns that hold a thought and no message."""
    return frozenset(
        (dialogue.id, index)
        for dialogue in group.dialogues
        for index, turn in chatbot_turns(dialogue)
        if turn.thought and not turn.text
    )


def reply_notes(groups: Sequence[Group]) -> list[str]:
    """How many replies held a thought, were nothing else, or were cut at the token limit."""
    notes = []
    for group in groups:
        if group.num_with_thought:
            notes.append(
                f"{group.name}: {_messages(group.num_with_thought)} held a thought, which was kept apart, not judged."
            )
        if group.num_silent:
            notes.append(
                f"{group.name}: {_messages(group.num_silent)} held a thought and nothing for the user: failed replies, "
                "in no rate."
            )
        if group.num_cut:
            notes.append(
                f"{group.name}: {_messages(group.num_cut)} were cut, at the chatbot's token limit or by its "
                f"endpoint's filter, and may break off in a sentence; where it is the limit, {RAISE_LIMIT}."
            )
    return notes


def language_notes(assessments: Mapping[str, Sequence[Assessment]], detector: Detector) -> list[str]:
    """How many messages of each group were not judged because of their language, and which languages these are."""
    notes = []
    for name, verdicts in assessments.items():
        counts = Counter(verdict.other_language for verdict in verdicts if verdict.other_language)
        if counts:
            languages = ", ".join(f"{language} {num}" for language, num in counts.most_common())
            notes.append(
                f"{name}: {counts.total()} of {len(verdicts)} messages were not judged, because of their language "
                f"({languages}): the detector {detector.name} knows English only. They are in no rate."
            )
    return notes


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def group_notes(groups: Sequence[Group], judged: Collection[str]) -> list[str]:
    """Groups where nothing could be judged or nothing was found, and what is counted beside their rates."""
    notes = []
    for group in groups:
        if group.failures is None:
            continue
        rates = group.failures.rates
        modes = [mode for mode in rates if mode in judged]
        unclear = [mode for mode in modes if not rates[mode].num_messages]
        if unclear and group.failures.num_messages:
            notes.append(f"{group.name}: the detector gave no verdict on any message for {', '.join(unclear)}.")
        if not group.failures.num_messages:
            notes.append(f"{group.name}: no chatbot turns, so there is nothing to judge.")
        elif len(unclear) < len(modes) and not any(group.failures.severities.values()):
            notes.append(f"{group.name}: the detector found no failure; that does not show that there is none.")
        if group.failures.num_errors:
            notes.append(
                f"{group.name}: {group.failures.num_errors} messages could not be judged; they are in no rate."
            )
        if group.num_ended_by_error:
            notes.append(
                f"{group.name}: {group.num_ended_by_error} conversations ended by an error of the chatbot's service: "
                "infrastructure, in no rate."
            )
    return notes


def population_notes(groups: Sequence[Group]) -> list[str]:
    """Which groups can be told from the real dialogues by their failures, and which could not be tested."""
    tests = [(group.name, group.failures.population_test) for group in groups if group.failures is not None]
    return [f"{name}: {test.sentence}" for name, test in tests if test is not None]
