"""The prompts that a policy is learned from, and some to test it on, as recipes: which text, how long, what is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Source:
    """A piece of a file: from the first line that holds `start` on. `file` is a pattern with one match."""

    file: str
    start: str = ""


@dataclass
class Recipe:
    """One prompt. `form` says how it is made of the text, `kind` what it is called: policies are judged kind by kind.

    plain: the text, to be continued; ask: the text and a request, after `turns` if there are any; needle: the same with
    the needle at `depth` of the text; chat: no text, `turns` again and again until they have `n_tokens`, then `ask`.
    """

    kind: str
    form: str
    text: Source | None
    n_tokens: int  # of the text, or of the exchanges
    needle: str = ""
    depth: float = 0.5
    ask: str = ""
    turns: tuple[tuple[str, str], ...] = ()  # earlier exchanges: question (about the text), answer


LICENSES = "/usr/share/common-licenses"
CMAKE = "/usr/share/cmake-*/Help/manual"
PYTHON = "/usr/lib/python3.11"
TEMPLATES = "/var/lib/dpkg/info"  # the questions that packages ask, in many languages


def _needle(text: Source, n_tokens: int, depth: float, needle: str, ask: str) -> Recipe:
    return Recipe("needle", "needle", text, n_tokens, needle=needle, depth=depth, ask=ask)


def _ask(kind: str, text: Source, n_tokens: int, ask: str, *turns: tuple[str, str]) -> Recipe:
    return Recipe(kind, "ask", text, n_tokens, ask=ask, turns=turns)


def _plain(kind: str, text: Source, n_tokens: int) -> Recipe:
    return Recipe(kind, "plain", text, n_tokens)


def _chat(n_tokens: int, ask: str, *turns: tuple[str, str]) -> Recipe:
    return Recipe("chat", "chat", None, n_tokens, ask=ask, turns=turns)


# Many kinds: what a head is needed for differs between them, and a policy that has never seen a chat that repeats
# itself harms it.
TRAINING = [
    _needle(
        Source(f"{LICENSES}/Apache-2.0"),
        1500,
        0.3,
        "The access code of the northern warehouse is 48213.",
        "What is the access code of the northern warehouse?",
    ),
    _needle(
        Source(f"{PYTHON}/textwrap.py", "class TextWrapper"),
        1300,
        0.6,
        "# NOTE: the maintenance password of this module is violet-otter-52",
        "Which maintenance password does the note in this code mention?",
    ),
    _needle(
        Source(f"{LICENSES}/GFDL-1.3", "PREAMBLE"),
        1700,
        0.7,
        "The spare key of the boat house lies under the blue flowerpot.",
        "Where does the spare key of the boat house lie?",
    ),
    _needle(
        Source(f"{CMAKE}/cmake-language.7.rst", "Organization"),
        1400,
        0.15,
        "The meeting with the auditors has been moved to Thursday, 14:35, in room 7B.",
        "When and where is the meeting with the auditors?",
    ),
    _needle(
        Source(f"{LICENSES}/LGPL-2.1", "TERMS AND CONDITIONS"),
        1900,
        0.5,
        "The serial number of the old telescope is QX-7719-LB.",
        "Tell me the serial number of the old telescope.",
    ),
    _needle(
        Source(f"{CMAKE}/ctest.1.rst", "Options"),
        1100,
        0.4,
        "The telephone number of the harbour office is 555-0172.",
        "What is the telephone number of the harbour office?",
    ),
    _plain("code", Source(f"{PYTHON}/heapq.py", "def heappush"), 1300),
    _plain("code", Source(f"{PYTHON}/csv.py", "class Dialect"), 1800),
    _plain("code", Source("/usr/include/elf.h", "typedef uint16_t Elf32_Half"), 1500),
    _ask("summary", Source(f"{LICENSES}/Artistic"), 1300, "Summarize the document above in a few sentences."),
    _ask(
        "summary",
        Source(f"{CMAKE}/cmake-packages.7.rst", "Introduction"),
        1700,
        "Write a short summary of this manual page for a colleague.",
    ),
    _ask(
        "question",
        Source(f"{PYTHON}/pydoc_data/topics.py", "'assignment'"),
        1400,
        "And how are targets in a list evaluated? Give an example.",
        ("What is this text about?", "It describes assignment statements of the Python language."),
    ),
    _ask(
        "question",
        Source(f"{CMAKE}/cmake-toolchains.7.rst", "Introduction"),
        1100,
        "Explain in plain words what a toolchain file is good for.",
        ("Please read this first.", "I have read it. What would you like to know?"),
    ),
    _plain("text", Source(f"{LICENSES}/GPL-1"), 1900),
    _plain("list", Source(f"{CMAKE}/cmake-variables.7.rst"), 1200),
    _plain("code", Source(f"{PYTHON}/statistics.py"), 1600),
    _plain("code", Source(f"{PYTHON}/fractions.py", "class Fraction"), 1300),
    _ask(
        "code",
        Source(f"{PYTHON}/queue.py", "class Queue"),
        1100,
        "Continue this module with a class BoundedStack that has the same interface.",
    ),
    _chat(
        1100,
        "Is the lift on the north side working?",
        (
            "Is the lift on the north side working?",
            "Yes, the lift on the north side is working. It was checked at 6:30.",
        ),
        ("And the escalator to platform 2?", "The escalator to platform 2 is out of order. Please use the stairs."),
        ("When does the next train to Harwich leave?", "The next train to Harwich leaves at 9:12 from platform 4."),
        ("Where can I buy a ticket?", "Tickets are sold at the counter by the main entrance and at the red machines."),
    ),
    _chat(
        900,
        "Next line, please.",
        ("Next line, please.", "A wind came up out of the sea and said: O mists, make room for me."),
        ("Next line, please.", "It hailed the ships and cried: Sail on, ye mariners, the night is gone."),
        ("Next line, please.", "And hurried landward far away, crying: Awake! it is the day."),
        ("Next line, please.", "It said unto the forest: Shout! Hang all your leafy banners out!"),
    ),
    _chat(
        1300,
        "Report on sensor 3.",
        ("Report on sensor 1.", "Sensor 1: temperature 21.4 C, humidity 40 %, battery good, no alarm."),
        ("Report on sensor 2.", "Sensor 2: temperature 19.8 C, humidity 47 %, battery good, no alarm."),
        ("Report on sensor 3.", "Sensor 3: temperature 35.1 C, humidity 12 %, battery low, ALARM: too hot."),
    ),
    _plain("list", Source("/usr/share/i18n/SUPPORTED"), 1300),
    _plain("list", Source(f"{TEMPLATES}/perl-base.list", "/usr/lib"), 1100),
    _plain("table", Source("/usr/share/perl/5.36.0/unicore/Blocks.txt", "0000..007F"), 1500),
    _ask(
        "table",
        Source("/usr/share/zoneinfo/zone1970.tab", "AD\t"),
        1600,
        "Which time zone belongs to the country code AM? Copy its row.",
    ),
    _plain("language", Source(f"{TEMPLATES}/base-passwd.templates", "Description-de"), 1500),
    _ask(
        "language",
        Source(f"{TEMPLATES}/libpam-runtime.templates", "Description-de.UTF-8: Zu"),
        1300,
        "Fasse den deutschen Teil in zwei Sätzen zusammen.",
    ),
    _ask(
        "language",
        Source(f"{TEMPLATES}/tzdata.templates", "Choices-ca"),
        1400,
        "Comment s'appellent ces régions en français ?",
    ),
]

# Other texts, longer. The chats of TRAINING have nothing in common with this one but that they repeat themselves.
HELD_OUT = [
    _needle(
        Source(f"{LICENSES}/MPL-2.0"),
        2400,
        0.35,
        "The secret number of the village library is 90467.",
        "What is the secret number of the village library?",
    ),
    _plain("code", Source(f"{PYTHON}/shlex.py", "class shlex"), 2000),
    _ask(
        "summary", Source(f"{CMAKE}/cmake-buildsystem.7.rst"), 2200, "Summarize this documentation in five sentences."
    ),
    _plain("text", Source(f"{LICENSES}/GPL-3", "0. Definitions"), 2600),
    _chat(
        1900,
        "How do I get to the castle?",
        ("What time does the museum open?", "The museum opens at ten in the morning, and it is closed on Mondays."),
        ("How do I get to the castle?", "Take bus 12 from the market square, and get off at the fourth stop."),
        ("Is there a good bakery near by?", "Yes: Miller's, in Bridge Street, just behind the old town hall."),
        ("What does the harbour tour cost?", "Adults pay 14 euros, children 7; the boat leaves every hour."),
        ("Can I swim in the lake?", "You can, from June to September. The beach lies on the eastern shore."),
    ),
    _ask(
        "table",
        Source("/etc/services", "tcpmux"),
        2200,
        "On which port does the service finger listen, and what is the name of the service on port 123?",
    ),
    _plain("list", Source("/etc/mime.types", "application/"), 1900),
    _ask(
        "language",
        Source(f"{TEMPLATES}/debconf.templates", "Description-de.UTF-8: Ignoriere"),
        2100,
        "¿Qué dice el texto en español? Explícalo en pocas frases.",
    ),
]
