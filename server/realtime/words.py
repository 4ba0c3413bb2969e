"""What the model is asked to say, or told, when it is not the caller's turn that asks.

Each text is an instruction for one response, in the call's language. It replaces the session's
instructions for that response, so it says all that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def greeting_tokens(text: str) -> int:
    """A token budget that a spoken text of this length cannot exceed.

    Speech takes about 20 audio tokens a second and 12 characters a second, Hebrew up to one more
    text token a character: under 3 a character. Twice that, so that no greeting is cut short.
    """
    return min(4096, max(256, 6 * len(text)))


@dataclass(frozen=True, slots=True)
class Words:
    """One language."""

    exactly: str
    """`{text}` is to be said word for word."""
    still_there: str
    idle_goodbye: str
    goodbye: str
    time_is_nearly_up: str
    time_is_up: str
    transfer: str
    """`{destination}`: whom the caller is connected to."""
    transfer_failed: str
    no_answer: Mapping[str, str]
    """Twilio's DialCallStatus to a reason that can be said."""
    a_person: str
    take_message: str
    interrupted_goodbye: str
    """A note: the caller spoke into the goodbye, so the call goes on."""
    interrupted_transfer: str
    continuing: str
    """The call was interrupted by a fault or a restart and goes on."""
    continuing_blank: str
    """The same, and what was said before is lost."""


WORDS = {
    "he": Words(
        exactly="אמרי ללקוח בעברית בדיוק את המשפט הבא, בלי להוסיף דבר: «{text}»",
        still_there="הקו שקט. שאלי במשפט קצר אחד בעברית אם הלקוח עדיין על הקו.",
        idle_goodbye="הלקוח אינו עונה. היפרדי ממנו בעברית במשפט קצר אחד, ואמרי שאפשר להתקשר שוב בכל עת.",
        goodbye="היפרדי מהלקוח בעברית במשפט קצר אחד.",
        time_is_nearly_up="אמרי ללקוח בעברית במשפט קצר אחד שנותרה כחצי דקה לשיחה, ושאלי אם נשאר דבר חשוב.",
        time_is_up="זמן השיחה נגמר. אמרי זאת ללקוח בעברית במשפט קצר אחד, הודי לו והיפרדי.",
        transfer="אמרי ללקוח בעברית במשפט קצר אחד שהוא מועבר עכשיו אל {destination}.",
        transfer_failed="ההעברה אל {destination} לא הצליחה: {why}. אמרי זאת ללקוח בעברית במשפט קצר, "
        "והציעי לקחת הודעה או לעזור בעצמך.",
        no_answer={"busy": "הקו תפוס", "no-answer": "אין מענה", "failed": "לא ניתן להתקשר כעת"},
        a_person="נציג",
        take_message="הציעי ללקוח בעברית, במשפט קצר אחד, לקחת ממנו הודעה, ובקשי את שמו.",
        interrupted_goodbye="הלקוח דיבר בזמן הפרידה: השיחה לא נותקה והיא נמשכת.",
        interrupted_transfer="הלקוח דיבר לפני ההעברה: הוא לא הועבר והשיחה נמשכת.",
        continuing="השיחה נקטעה לרגע וחזרה. אל תברכי שוב לשלום. אמרי בעברית במשפט קצר אחד שאת כאן שוב, "
        "והמשיכי מהמקום שבו עצרתם.",
        continuing_blank="השיחה נקטעה לרגע וחזרה, ומה שנאמר לפני כן אבד. אל תברכי שוב לשלום. התנצלי בעברית "
        "במשפט קצר אחד, ובקשי מהלקוח לומר שוב במה אפשר לעזור.",
    ),
    "en": Words(
        exactly="Say exactly this to the caller, and nothing else: «{text}»",
        still_there="The line is quiet. Ask in one short sentence whether the caller is still there.",
        idle_goodbye="The caller does not answer. Say goodbye in one short sentence, and that they may call "
        "again at any time.",
        goodbye="Say goodbye to the caller in one short sentence.",
        time_is_nearly_up="Tell the caller in one short sentence that about half a minute is left, and ask "
        "whether anything important remains.",
        time_is_up="The time for this call is over. Say so in one short sentence, thank the caller and say "
        "goodbye.",
        transfer="Tell the caller in one short sentence that you connect them to {destination} now.",
        transfer_failed="The transfer to {destination} failed: {why}. Tell the caller so in one sentence, "
        "and offer to take a message or to help yourself.",
        no_answer={
            "busy": "the line is busy",
            "no-answer": "nobody answers",
            "failed": "it cannot be reached",
        },
        a_person="a person",
        take_message="Offer in one short sentence to take a message, and ask for the caller's name.",
        interrupted_goodbye="The caller spoke into the goodbye: the call was not ended and goes on.",
        interrupted_transfer="The caller spoke before the transfer: it did not happen, the call goes on.",
        continuing="The call broke off for a moment and is back. Do not greet again. Say in one sentence "
        "that you are here again, and go on where you stopped.",
        continuing_blank="The call broke off for a moment and is back, and what was said before is lost. "
        "Do not greet again. Apologise in one short sentence, and ask what the caller needs.",
    ),
}
