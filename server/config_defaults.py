"""What the variables are when nobody sets them, and what OpenAI knows by name."""

from __future__ import annotations

VOICES = ("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse")

SHUTDOWNS = {
    "gpt-realtime": "2027-01-20",
    "gpt-realtime-2025-08-28": "2027-01-20",
    "gpt-realtime-mini": "2027-01-20",
    "gpt-4o-realtime-preview": "2027-01-20 at the latest",
    "gpt-4o-mini-realtime-preview": "2027-01-20 at the latest",
}
"""Models that OpenAI has announced the end of, by its deprecations page of 2026-11."""

DEFAULT_GREETING = {
    "he": "שלום, הגעתם אלינו. איך אפשר לעזור?",
    "en": "Hello, thank you for calling. How can I help?",
}
DEFAULT_INSTRUCTIONS = {
    "he": "את עוזרת קולית של עסק קטן. דברי עברית, במשפטים קצרים וברורים, בטון חם ואדיב. "
    "אל תמציאי עובדות על העסק; אם אינך יודעת, הציעי לקחת הודעה. "
    "כשהשיחה הסתיימה, היפרדי והשתמשי בכלי end_call.",
    "en": "You are the voice assistant of a small business. Speak in short, clear, friendly sentences. "
    "Do not make up facts about the business; if you do not know, offer to take a message. "
    "When the conversation is over, say goodbye and use the tool end_call.",
}
