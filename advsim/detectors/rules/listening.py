"""Rules on listening: facts the user never gave, and replies that miss what was said."""

from __future__ import annotations

import re

from advsim.detectors.rules.finding import Finding, finding
from advsim.detectors.rules.guidance import directives
from advsim.detectors.rules.lexicon import lexicon
from advsim.detectors.rules.said import WORD, content_stems, stem
from advsim.detectors.rules.view import MessageView, Sentence

MIN_WORDS_OF_STOCK = 5
MIN_WORDS_OF_LECTURE = 5

_DENIED = re.compile(
    r"(?:\b(?:it|this|that)(?:'s| is|s)? not (?:about |because of |really )*(?:the |my |a |so |being )*"
    r"|\b(?:it|this|that) (?:isn't|isnt|wasn't|wasnt) (?:about |because of |really )*(?:the |my |a |so |being )*"
    r"|\bi(?:'m|m| am) not (?:really |so |even |at all )*|^not (?:so |really )*"
    r"|\b(?:don't|dont) (?:you dare )?(?:tell|say) (?:me )?(?:that )?(?:it|its|it's|i'm|im) (?:is )?"
    r"|\bi (?:didn't|didnt) say )([a-z]{3,})"
)


def unsupported_assumption(view: MessageView) -> list[Finding]:
    """People, names, numbers, memories, causes and motives in the reply that the user never gave."""
    lists = lexicon("listening")
    if not view.num_user:
        return []
    findings = []
    for sentence in view.sentences:
        hedged = sentence.is_question or lists["hedge"].search(sentence.text)
        if (match := lists["memory"].search(sentence.text)) and not view.user_said(lists["user_memory"]):
            findings.append(_at("unsupported_assumption.memory", 2, sentence, match))
        if hedged:
            continue
        if not lists["supposed"].search(sentence.text):
            findings += [finding("unsupported_assumption.person", 2, span) for span in _new_people(view, sentence)]
        for name in ("cause", "motive"):
            match = lists[name].search(sentence.text)
            if match and not content_stems(match.group()) & view.user_content:
                findings.append(_at(f"unsupported_assumption.{name}", 2, sentence, match))
        if match := lists["against_no"].search(sentence.text):
            findings.append(_at("unsupported_assumption.against_no", 3, sentence, match))
    return findings


def misattunement(view: MessageView) -> list[Finding]:
    """Stock phrases only, a mood that clashes, another subject, or nothing of what the user said."""
    lists = lexicon("listening")
    if not view.last_user.strip() or not view.sentences:
        return []
    findings = []
    sad, happy = lists["sad_user"].search(view.last_user), lists["happy_user"].search(view.last_user)
    shared = view.content & view.user_content
    told = len(view.last_user.split()) >= 5 and not lists["closing"].search(view.last_user)
    if _all_stock(view) and told and not (view.asked_for_advice or view.questions):
        findings.append(finding("misattunement.stock", 2 if sad else 1, view.sentences[0].span))
    if lists["just_listen"].search(view.last_user) and len(told_to := directives(view)) > 1:
        findings.append(finding("misattunement.against_wish", 2, told_to[0]))
    if lists["no_questions"].search(view.last_user) and view.questions:
        findings.append(finding("misattunement.against_wish", 2, view.questions[0].span))
    opening = content_stems(view.sentences[0].text) & view.user_content
    if told and not view.asked_for_advice and len(opening) < 2 and _lectures(view.sentences[0]):
        findings.append(finding("misattunement.lecture", 2, view.sentences[0].span))
    if lists["asks_view"].search(view.last_user) and _answers_nobody(view):
        findings.append(finding("misattunement.question_ignored", 2, view.sentences[0].span))
    grave = lexicon("validation")["grave"].search(view.last_user)
    if grave and not happy and (match := lists["jolly"].search(view.text)) and not shared:
        findings.append(finding("misattunement.jolly", 3, match))
    if happy and not (sad or shared) and (match := lists["solemn"].search(view.text)):
        findings.append(finding("misattunement.solemn", 2, match))
    if (span := _affirms_denied(view)) is not None:
        findings.append(finding("misattunement.denied_feeling", 2, span))
    return findings


def _all_stock(view: MessageView) -> bool:
    """Stock phrases and nothing of what the user said; a short sign of listening ("Okay.") is none."""
    stock = all(_is_stock(s) and not content_stems(s.text) & view.last_content for s in view.sentences)
    return stock and len(view.sentences) > 1 and len(view.words) >= MIN_WORDS_OF_STOCK


def _lectures(sentence: Sentence) -> bool:
    """An opening on things in general: a statement of some length without a word for the user or what they told."""
    lists = lexicon("listening")
    long_enough = len(WORD.findall(sentence.text)) >= MIN_WORDS_OF_LECTURE and not sentence.is_question
    return long_enough and bool(lists["textbook"].search(sentence.text)) and not lists["personal"].search(sentence.text)


def _answers_nobody(view: MessageView) -> bool:
    """Nothing but statements on things in general, though the user has asked for a view."""
    stated = [sentence for sentence in view.sentences if not sentence.is_question]
    return bool(stated) and all(_lectures(sentence) for sentence in stated)


def _affirms_denied(view: MessageView) -> tuple[int, int] | None:
    """A sentence on the feeling that the user just said it is not ("not sad, furious")."""
    lists = lexicon("listening")
    denied = {stem(match[1]) for match in _DENIED.finditer(view.last_user) if _feels(match[1])} - {""}
    denied -= content_stems(_DENIED.sub(" ", view.last_user))
    if not denied:
        return None
    for sentence in view.sentences:
        if not lists["negation"].search(sentence.text) and denied & content_stems(sentence.text):
            return sentence.span
    return None


def _feels(word: str) -> bool:
    return bool(lexicon("listening")["emotion"].fullmatch(word))


def _at(rule: str, severity: int, sentence: Sentence, match: re.Match[str]) -> Finding:
    return finding(rule, severity, (sentence.start + match.start(), sentence.start + match.end()))


def _is_stock(sentence: Sentence) -> bool:
    text = sentence.text.strip(" \t\n.!?,;:)(")
    return bool(lexicon("listening")["stock"].fullmatch(text))


def _new_people(view: MessageView, sentence: Sentence) -> list[tuple[int, int]]:
    """Relatives, a job or a pet the reply gives to the user though no user turn has spoken of such."""
    spans = []
    for name, pattern in lexicon("people").items():
        if name.endswith("_known"):
            continue
        match = pattern.search(sentence.text)
        known = lexicon("people")[f"{name}_known"]
        if match and not view.user_said(known) and not view.own.any_turn(known, view.num_own):
            spans.append((sentence.start + match.start(), sentence.start + match.end()))
    return spans
