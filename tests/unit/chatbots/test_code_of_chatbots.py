"""Chatbots that are Python code: whose helpers they find, and what their calls run on."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from advsim.chatbots.called import CalledChatbot
from advsim.chatbots.caller import called_chatbot
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError, ConfigError
from advsim.records import Speaker, Turn

USER = (Turn(speaker=Speaker.USER, text="hi"),)


def write(folder: Path, **files: str) -> Path:
    """A folder with Python files; ``__`` in a name is a folder."""
    for name, code in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    return folder


def chatbot(file: Path, *, name: str = "reply", **calls: object) -> CalledChatbot:
    config = ChatbotConfig.model_validate(
        {"kind": "python", "function": f"{file}:{name}", "calls": {"timeout_s": 5.0, "max_attempts": 1, **calls}}
    )
    return called_chatbot(config, folder="")


def said(*chatbots: CalledChatbot) -> list[str]:
    """Replies to one message at once, or why there is none."""

    async def one(bot: CalledChatbot, number: int) -> str:
        try:
            return (await bot.reply(USER, seed=0, session=str(number))).text
        except ChatbotError as error:
            return str(error)

    async def ask() -> list[str]:
        try:
            return list(await asyncio.gather(*(one(bot, number) for number, bot in enumerate(chatbots))))
        finally:
            for bot in set(chatbots):
                await bot.close()

    return asyncio.run(ask())


IMPORTS = {
    "a name": "from prompts import GREETING\ndef reply(messages): return GREETING",
    "within a call": "def reply(messages):\n    import prompts\n    return prompts.GREETING",
    "within an asynchronous call": "async def reply(messages):\n    from prompts import GREETING\n    return GREETING",
    "a package": "import lines.words as words\ndef reply(messages): return words.GREETING",
    "a helper of a helper": "from lines.through import GREETING\ndef reply(messages): return GREETING",
    "the folder itself": "from . import prompts\ndef reply(messages): return prompts.GREETING",
    "a file beside the package": "from lines import words\ndef reply(messages): return words.GREETING",
}


@pytest.mark.parametrize("code", IMPORTS.values(), ids=IMPORTS.keys())
def test_each_chatbot_has_the_helpers_of_its_own_folder(code: str, tmp_path: Path) -> None:
    bots = [
        chatbot(
            write(
                tmp_path / version,
                bot=code,
                prompts=f"GREETING = 'I am {version}'",
                lines____init__="",
                lines__words="from prompts import GREETING",
                lines__through="import lines.words\nGREETING = lines.words.GREETING",
            )
            / "bot.py"
        )
        for version in ("v1", "v2")
    ]
    assert said(*bots, *bots) == ["I am v1", "I am v2"] * 2
    assert "prompts" not in sys.modules


def test_a_helper_called_like_an_installed_package_is_the_one_beside_the_chatbot(tmp_path: Path) -> None:
    code = "import pytest, jmespath\ndef reply(messages): return f'{pytest.WORD} {jmespath.search.__name__}'"
    assert said(chatbot(write(tmp_path, bot=code, pytest="WORD = 'mine'") / "bot.py")) == ["mine search"]
    assert sys.modules["pytest"] is pytest
    code = "def reply(messages):\n    import this\n    return this.WORD"
    assert said(chatbot(write(tmp_path, other=code, this="WORD = 'mine'") / "other.py")) == ["mine"]
    assert "this" not in sys.modules  # the one of Python itself, which nobody asked for


def test_a_file_called_like_the_package_it_imports_finds_the_package(tmp_path: Path) -> None:
    code = "import jmespath\ndef reply(messages): return jmespath.search('a', {'a': 'found'})"
    assert said(chatbot(write(tmp_path, jmespath=code) / "jmespath.py")) == ["found"]


def test_chatbots_of_one_folder_share_its_modules_until_one_is_edited(tmp_path: Path) -> None:
    counts = "from state import told\ndef reply(messages):\n    told.append(1)\n    return str(len(told))"
    folder = write(tmp_path, bot=counts, other=counts, state="told = []")
    assert [said(chatbot(folder / file))[0] for file in ("bot.py", "bot.py", "other.py")] == ["1", "2", "3"]
    write(tmp_path, bot=counts + " + ' anew'")
    assert said(chatbot(folder / "bot.py")) == ["1 anew"]
    write(tmp_path, state="told = [1, 2, 3]")
    assert said(chatbot(folder / "bot.py")) == ["4 anew"]


STAND = """
from __future__ import annotations
import pickle, importlib
from dataclasses import dataclass
from pathlib import Path
from shapes_of_bot import Shape
@dataclass
class Mine:
    word: str
def reply(messages):
    both = pickle.loads(pickle.dumps([Mine("a"), Shape("b")]))
    old = pickle.loads(b"cshapes_of_bot\\nShape\\n(S'c'\\ntR.")
    by_name = importlib.import_module("shapes_of_bot").Shape
    words = (Path(__file__).parent / "words.txt").read_text()
    assert isinstance(both[1], Shape) and isinstance(old, Shape) and by_name is Shape
    return both[0].word + both[1].word + old.word + words
"""
SHAPE = "from dataclasses import dataclass\n@dataclass\nclass Shape:\n    word: 'str'"


def test_pickles_dataclasses_names_of_modules_and_files_beside_the_code_are_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", bot=STAND, shapes_of_bot=SHAPE)
    (folder / "words.txt").write_text("d")
    assert said(chatbot(folder / "bot.py")) == ["abcd"]


def test_a_name_that_two_folders_have_is_not_found_by_name_alone_and_both_are_named(tmp_path: Path) -> None:
    code = "import importlib\ndef reply(messages): return importlib.import_module('two_have_it').WORD"
    one, two = (write(tmp_path / name, bot=code, two_have_it=f"WORD = {name!r}") for name in ("one", "two"))
    first = chatbot(one / "bot.py")
    assert said(first) == ["one"]
    for words in said(first, chatbot(two / "bot.py")):
        assert "several chatbots have a module two_have_it" in words and f"{one}, {two}" in words


def test_a_missing_name_is_told_as_the_code_has_it(tmp_path: Path) -> None:
    folder = write(tmp_path, bot="from helper_of_bot import gone", helper_of_bot="")
    with pytest.raises(ConfigError, match=r"cannot import name 'gone' from 'helper_of_bot'.*\(bot\.py, line 1\)"):
        chatbot(folder / "bot.py")


RAISES = """
import asyncio, concurrent.futures, json, sys
def stops(messages): next(iter([]))
def cancels(messages): raise concurrent.futures.CancelledError
def times_out(messages): raise TimeoutError("mine")
async def waits_too_long(messages):
    await asyncio.wait_for(asyncio.sleep(9), 0.01)
def leaves(messages): sys.exit(3)
def parses(messages): json.loads("{")
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stops", "it raised StopIteration: (bot.py, line 3)"),
        ("cancels", "it raised CancelledError: (bot.py, line 4)"),
        ("times_out", "it raised TimeoutError: mine (bot.py, line 5)"),
        ("waits_too_long", "it raised TimeoutError: (bot.py, line 7)"),
        ("leaves", "it raised SystemExit: 3 (bot.py, line 8)"),
        ("parses", "(bot.py, line 9)"),
    ],
)
def test_an_error_of_any_kind_is_told_at_once_with_the_line_of_the_chatbot(
    name: str, words: str, tmp_path: Path
) -> None:
    started = time.monotonic()
    (got,) = said(chatbot(write(tmp_path, bot=RAISES) / "bot.py", name=name))
    assert words in got and time.monotonic() - started < 2.0


def test_asynchronous_code_that_blocks_is_told_so_and_then_no_call_waits_for_another(tmp_path: Path) -> None:
    code = "import time\nasync def reply(messages):\n    time.sleep(0.6)\n    return 'late'"
    bot = chatbot(write(tmp_path, bot=code) / "bot.py", timeout_s=1.0)
    words = said(bot, bot, bot, bot)
    assert "no answer within 1 s (its asynchronous code blocks" in words[-1] and "write def reply" in words[-1]
    assert said(bot, bot, bot, bot) == ["late"] * 4


def test_asynchronous_code_that_only_takes_long_keeps_its_one_loop(tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import asyncio",
            "loops = []",
            "async def reply(messages):",
            "    loops.append(asyncio.get_running_loop())",
            "    await asyncio.sleep(9 if len(loops) == 1 else 0)",
            "    return str(len(set(loops)))",
        ]
    )
    bot = chatbot(write(tmp_path, bot=code) / "bot.py", timeout_s=0.5)

    async def ask() -> list[str]:
        with pytest.raises(ChatbotError, match=r"no answer within 0\.5 s$"):
            await bot.reply(USER, seed=0, session="a")
        return [(await bot.reply(USER, seed=0, session="a")).text for _ in range(2)]

    assert asyncio.run(ask()) == ["1", "1"]
