"""Is what the caller said over the agent a listener's noise, or does it want the floor?

A listener says "uh-huh" to be told more [1, 2]; an agent that stops for it has been misunderstood. The
two faults do not weigh the same: an interruption taken for a noise leaves a caller unheard, a noise taken
for an interruption costs one sentence. So what is not on a list is an interruption, and the lists leave
out whatever callers also use to take the floor:

- sounds (אה, ממ, uh-huh), yes and its kin (כן, נכון, right), receipt (הבנתי, got it) and praise (יופי,
  great) count: continuers, acknowledgements and assessments, in the words of [2] and of the dialogue-act
  tags `b`, `bk`, `ba` and `aa` of Switchboard [3]; for Hebrew after [4, 5].
- רגע and נו count as a lone word only: said twice, or before others, they mean "wait" and "get on".
- thanks, please, hello, sorry, "huh" and "really" do not count: they end, begin or question something.
- a question or a negation never counts, whatever `extra` says; "uh-uh", "mm-mm" and אה-אה with a hyphen are
  how transcribers write a spoken no.
- digits never count: they answer something.

Both languages' lists count in every call, for Israelis mix them. `language` adds how a transcriber writes
Hebrew in Latin letters: "ken" is a yes in a Hebrew call and a name in an English one. At most five
words count: a longer row of them is somebody's speech.

That a lone כן may be the answer to a question the agent has just asked, no text can tell: ask this module
only about what was said while the agent spoke on.

[1] Yngve, On getting a word in edgewise, 1970
[2] Gardner, When Listeners Talk, 2001
[3] Jurafsky, Shriberg, Biasca, Switchboard SWBD-DAMSL coders manual, 1997
[4] Maschler, Metalanguage in Interaction: Hebrew discourse markers, 2009
[5] Maschler and Dori-Hacohen, Hebrew nu: grammaticization of a borrowed particle, 2016
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

MAX_WORDS = 5
""""mm-hmm, yeah, I see" has as many; a hyphen parts two words."""
MAX_CHARS = 100

SOUNDS = """
    אה | אה הה | אה הא | אהא | ממ | המם | אמם | ממ הממ | אוה | וואו | ואו
    uh | uh huh | um | hm | mm | mm hm | mhm | mm mhm | ah | aha | ah ha | oh | ooh | wow
"""
HEBREW = """
    כן | נכון | נכון מאוד | בסדר | בסדר גמור | אוקי | או קי | טוב | טוב מאוד | יופי | איזה יופי | סבבה
    הבנתי | הבנתי אותך | אני מבין | אני מבינה | מובן | ברור | מעולה | מצוין | אחלה | נהדר | יפה | נחמד
    בטח | ודאי | בודאי | בהחלט | לגמרי | בדיוק | וואלה | ואללה | יס | פרפקט | אני איתך | אני שומע | אני שומעת
"""
ENGLISH = """
    yes | yeah | yea | ya | yep | yup | right | thats right | ok | o k | okay | okey | sure | of course
    i see | i know | i understand | understood | got it | gotcha | makes sense | that makes sense
    sounds good | all right | alright | cool | great | good | very good | nice | very nice | fine | perfect
    excellent | lovely | awesome | wonderful | true | exactly | indeed | absolutely | go on
"""
HEBREW_IN_LATIN = """
    ken | nachon | naxon | beseder | sababa | tov | yofi | achla | walla | betach | barur | hevanti | metzuyan
"""
LONE = "רגע | נו"
LONE_IN_LATIN = "nu | rega"
NEVER = """
    לא | אל | אין | די | מספיק | עצור | עצרי | תעצור | תעצרי | חכה | חכי | תחכה | תחכי | שנייה | סליחה | אבל
    מה | מי | איפה | מתי | למה | מדוע | כמה | איך | האם
    no | nope | nah | not | never | dont | cant | wont | isnt | doesnt | didnt | stop | wait | hold on | but
    what | who | where | when | why | how | which
"""
GHOSTS = """
    תודה שצפיתם | תודה רבה שצפיתם | תודה על הצפייה | תודה לצפייה | כתוביות | תרגום וכתוביות
    thank you for watching | thanks for watching | please subscribe | like and subscribe
    subtitles by the amara org community
"""
"""What transcribers trained on films write for a silent line. A lone "thank you" is a ghost as often, but
callers do say it."""

_ARTEFACT = re.compile(
    r"\[[^\[\]]{0,60}\]|\([^()]{0,60}\)|<[^<>]{0,60}>|\{[^{}]{0,60}\}|\*[^*]{1,60}\*|♪[^♪]{0,200}♪"
)
_HYPHENS = re.compile("[-\u2010-\u2015\u2212\u05be]+")
_APOSTROPHES = re.compile("['`´\u2018\u2019\u05f3]")
_QUESTION = re.compile("[?؟]")
_SPOKEN_NO = re.compile(r"\b(?:n?u+h+[- ]+u+h+|m{2,} ?- ?m{2,}|א+ה+ ?- ?א+ה+|מ{2,} ?- ?מ{2,})\b")
_NOT_A_WORD = re.compile(r"[\W_]+")
_TO_MEDIAL = str.maketrans("ךםןףץ", "כמנפצ")


def is_backchannel(text: str, language: str, extra: Iterable[str] = ()) -> bool:
    """`text`, heard while the agent spoke, is only a listener's noise.

    `language` is that of the call ("he", "en-US"); `extra` holds words or phrases of the business's own.
    """
    if len(text) > MAX_CHARS * 4:
        return False
    plain = _plain(text)
    if _QUESTION.search(plain) or _SPOKEN_NO.search(plain):
        return False
    words = _words(plain)
    if not words or len(words) > MAX_CHARS or words.count(" ") >= MAX_WORDS:
        return False
    if _NEVER.search(words):
        return False
    is_hebrew = language.lower()[:2] in ("he", "iw")
    if _LONE[is_hebrew].fullmatch(words):
        return True
    rest = _UNITS[is_hebrew].sub("", words)
    own = _own(tuple(extra))
    return not (own.sub("", rest) if own else rest).strip()


def is_wordless(text: str) -> bool:
    """Nothing was said: no text, a transcriber's remark such as `[noise]`, or one of its ghosts."""
    words = _words(_plain(text[: MAX_CHARS * 10]))
    return not words or (len(words) <= MAX_CHARS and bool(_GHOSTS.fullmatch(words)))


def _plain(text: str) -> str:
    """Without niqqud, accents, invisible characters, remarks and capitals; every hyphen the same one."""
    decomposed = unicodedata.normalize("NFKD", text)
    visible = "".join(char for char in decomposed if unicodedata.category(char) not in ("Mn", "Cf"))
    return _HYPHENS.sub("-", _ARTEFACT.sub(" ", visible.casefold()))


def _words(plain: str) -> str:
    """The words, each parted from the next by one space; Hebrew letters in their medial form."""
    return _NOT_A_WORD.sub(" ", _APOSTROPHES.sub("", plain)).strip().translate(_TO_MEDIAL)


def _stretched(phrase: str) -> str:
    """A pattern for `phrase` with any letter held longer; what is doubled here stays doubled, so that
    "god" is not "good", nor הם ("they") a hum."""
    letters = ((char, len(list(run))) for char, run in groupby(_words(_plain(phrase))))
    return "".join(" ?" if char == " " else f"{re.escape(char * count)}+" for char, count in letters)


def _any_of(*lists: str) -> str:
    """A pattern for any phrase of these lists, the longest first: "uh huh" is not "uh" and a question."""
    phrases = {
        _stretched(phrase) for text in lists for line in text.splitlines() for phrase in line.split("|")
    }
    return "|".join(sorted(phrases - {""}, key=lambda pattern: (-len(pattern), pattern)))


def _whole_words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")


_GHOSTS = re.compile(_any_of(GHOSTS))
_NEVER = _whole_words(_any_of(NEVER))
_LONE = {True: re.compile(_any_of(LONE, LONE_IN_LATIN)), False: re.compile(_any_of(LONE))}
_UNITS = {
    True: _whole_words(_any_of(SOUNDS, HEBREW, ENGLISH, HEBREW_IN_LATIN)),
    False: _whole_words(_any_of(SOUNDS, HEBREW, ENGLISH)),
}
"""By whether the call is in Hebrew."""


@lru_cache(maxsize=64)
def _own(extra: tuple[str, ...]) -> re.Pattern[str] | None:
    """For the business's words alone: one pattern for all took 5 ms to compile, in the middle of a call."""
    words = _any_of(*extra)
    return _whole_words(words) if words else None
