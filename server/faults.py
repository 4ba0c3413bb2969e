"""What can go wrong, in words for people: a catalogue.

`python -m server explain KAV-114` prints an entry, and log lines end with one: a stable id, what it
means for the caller (with Twilio's own code where there is one) and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the catalogue."""

    id: str
    title: str
    means: str
    """For the caller, and what Twilio's debugger shows."""
    fix: str

    def line(self, seen: str = "") -> str:
        """The entry as one log line: `KAV-114 title: seen. Fix: …`."""
        what = f"{self.title}: {seen}" if seen else self.title
        return f"{self.id} {what}. Fix: {self.fix}"


def _catalogue(*faults: Fault) -> dict[str, Fault]:
    return {fault.id: fault for fault in faults}


FAULTS = _catalogue(
    Fault(
        "KAV-101",
        "A variable cannot be read",
        "The process does not start, so that no call meets half a configuration.",
        "correct the variables named in the message; `python -m server config` lists all of them",
    ),
    Fault(
        "KAV-102",
        "OPENAI_API_KEY looks like a sample text",
        "Calls are answered by the demo agent: it speaks, but no AI is behind it.",
        "put the real key (it starts with sk-) into OPENAI_API_KEY and restart",
    ),
    Fault(
        "KAV-103",
        "REALTIME_VOICE is not a voice of the model",
        "The default voice is used instead: the model would refuse the whole session.",
        "choose one of alloy, ash, ballad, cedar, coral, echo, marin, sage, shimmer, verse, or a voice_… id",
    ),
    Fault(
        "KAV-104",
        "A variable that looks like ours is not known",
        "It has no effect on calls.",
        "correct its name, or remove it",
    ),
    Fault(
        "KAV-105",
        "The model's name is past or near its shutdown",
        "On that day the model refuses the session; calls go on by the next rung: pipeline, person, message.",
        "set OPENAI_REALTIME_MODEL to a current model",
    ),
    Fault(
        "KAV-106",
        "The model does not write down what callers say",
        "Calls go on. Every sound that is long enough interrupts the agent, because nobody can tell an "
        '"uh-huh" from an answer, and a call that moves to another session forgets the caller\'s words.',
        "set TRANSCRIPTION_MODEL to a model your endpoint knows, or to off",
    ),
    Fault(
        "KAV-107",
        "Text messages cannot be sent",
        "Messages are kept, and go to NOTIFY_URL if there is one, but nobody gets a text message of them.",
        "set TWILIO_ACCOUNT_SID (AC…) and TWILIO_AUTH_TOKEN, both from the first page of Twilio's console, "
        "or take the number away",
    ),
    Fault(
        "KAV-111",
        "A webhook without a valid Twilio signature was refused",
        "Answered 403. If it was Twilio, the caller hears Twilio's application error (11200).",
        "set PUBLIC_BASE_URL to the very address Twilio calls, and TWILIO_AUTH_TOKEN to that account's "
        "token; to try by hand use `python -m server call`, which signs",
    ),
    Fault(
        "KAV-112",
        "A media WebSocket without a valid Twilio signature was refused",
        "Answered 403; Twilio reports 31920 and goes on after </Connect>: the caller hears the apology.",
        "set PUBLIC_BASE_URL to the very address in the TwiML; to try by hand use `python -m server call`",
    ),
    Fault(
        "KAV-113",
        "A request for the media WebSocket is no WebSocket handshake",
        "Answered 400, 403 or 426; Twilio reports 31920.",
        "let the proxy pass Upgrade, Connection and the Sec-WebSocket headers through unchanged",
    ),
    Fault(
        "KAV-114",
        "The stream brought no call token, a used one, or a wrong one",
        "The stream is closed with 1008 before any AI is contacted; the caller hears the apology.",
        "connect through the TwiML of /webhook/incoming_call, which issues a token for 120 s and one use; "
        "`python -m server call` does so",
    ),
    Fault(
        "KAV-115",
        "The stream's audio is not μ-law 8000 Hz mono",
        "The stream is closed with 1008: played as it is, it would be noise. The caller hears the apology.",
        "use <Connect><Stream> without audio format attributes",
    ),
    Fault(
        "KAV-116",
        "No start message came",
        "The WebSocket is closed after 5 s with 1008.",
        "connect a Twilio stream here, or `python -m server call`; health checks belong to /healthz",
    ),
    Fault(
        "KAV-121",
        "The caller's leg broke Twilio's protocol",
        "The message is dropped and counted; the call goes on.",
        "none is needed if Twilio sent it; a test client should send what Twilio documents",
    ),
    Fault(
        "KAV-122",
        "The caller's leg vanished",
        "No media came and no goodbye. The model's session waits 20 s for the caller, whom Twilio sends back "
        "in another stream if they are still there; then it is closed.",
        "look at the network between Twilio and this host if it happens often (31901, 31903)",
    ),
    Fault(
        "KAV-123",
        "The caller's leg does not read what we send",
        "Audio could not be delivered for 5 s; the stream is closed.",
        "look for a stalled proxy between Twilio and this host",
    ),
    Fault(
        "KAV-131",
        "The model cannot be reached",
        "It is tried again for seconds; then the call goes on by the next rung: pipeline, person, message.",
        "check OPENAI_REALTIME_URL and this host's way out to it (DNS, TLS, firewall)",
    ),
    Fault(
        "KAV-132",
        "The model refused the key",
        "The call goes on without any model, by a person or a message; trying again would not help.",
        "put a valid key with access to the Realtime API into OPENAI_API_KEY",
    ),
    Fault(
        "KAV-133",
        "The account of the model has no quota or is deactivated",
        "The call goes on without any model, by a person or a message; trying again would not help.",
        "add credit, or raise the limit, at the model's provider",
    ),
    Fault(
        "KAV-134",
        "The model refused the session's settings",
        "Without them the model would speak 24 kHz PCM, which is noise on a telephone: the call goes on "
        "by the next rung instead.",
        "correct the field the message names; for an Azure preview endpoint set REALTIME_DIALECT=beta, "
        "for every other one ga",
    ),
    Fault(
        "KAV-135",
        "The model went away in the middle of a call",
        "The call goes on in a new session, which is told what was said; after three tries by the next rung.",
        "look at the close code in the line; 1001 after an hour is the model's session limit",
    ),
    Fault(
        "KAV-136",
        "The model reported an error",
        "The event it names had no effect; the call goes on.",
        "report it with the line's code and param if it repeats",
    ),
    Fault(
        "KAV-137",
        "The model gave no audio in time",
        "The caller would sit in silence: the call goes on by the next rung instead.",
        "check the model's name and the provider's status page",
    ),
    Fault(
        "KAV-138",
        "The model's audio came faster than a call can hold",
        "The rest of that answer is dropped.",
        "lower the length of answers (instructions, max tokens)",
    ),
    Fault(
        "KAV-139",
        "The model's address answers, but not for this model",
        "The call goes on by the next rung; trying again would not help.",
        "check OPENAI_REALTIME_MODEL (on Azure the deployment's name) and the path of OPENAI_REALTIME_URL",
    ),
    Fault(
        "KAV-140",
        "The model's provider limits the rate of calls",
        "The call goes on by the next rung; the next call may work.",
        "raise the rate limit at the provider, or lower MAX_CALLS",
    ),
    Fault(
        "KAV-141",
        "All lines are busy",
        "A new caller hears a busy tone: MAX_CALLS calls are live, or were answered a moment ago. One who "
        "was answered already is asked to leave a message, or hears the apology.",
        "raise MAX_CALLS if this machine has room",
    ),
    Fault(
        "KAV-142",
        "The model fails one call after the other, and is not asked for a minute",
        "Callers are served by what the business has besides: the pipelined mode, a person, a message.",
        "look at the faults before this line, and at the provider's status page",
    ),
    Fault(
        "KAV-143",
        "This process is too slow for another call",
        "A new caller hears a busy tone, one who was answered already is asked to leave a message; the live "
        "calls keep their quality.",
        "lower MAX_CALLS, or give the process more CPU; gateway_hub_lag_seconds of /metrics shows the load",
    ),
    Fault(
        "KAV-144",
        "The streams of one call break again and again",
        "After the third the caller is asked to leave a message.",
        "look at the WS_END lines of this call; often a proxy on the way closes WebSockets",
    ),
    Fault(
        "KAV-145",
        "A call came back, and nothing is known of what was said",
        "The caller is told that the call broke off, and asked to say again what they need.",
        "check DATABASE_URL and REDIS_URL: all processes of this gateway need the same store",
    ),
    Fault(
        "KAV-146",
        "More calls lost their line at once than sessions are kept for",
        "The oldest of them goes on in a new session, which is told what was said as text.",
        "look at what breaks the lines: the proxy in front, or the way to Twilio",
    ),
    Fault(
        "KAV-147",
        "The model's connection stands, but nobody answers on it",
        "Noticed within 6 s by unanswered pings; the call goes on in a new session, which is told what was "
        "said, and hears what the caller said meanwhile.",
        "look for what cuts long connections on this host's way out (NAT, proxy, firewall), and at the "
        "provider's status page",
    ),
    Fault(
        "KAV-151",
        "Twilio's REST API cannot be reached",
        "A transfer, a hang-up or a text message was not asked for; the call itself goes on.",
        "check TWILIO_API_URL and this host's way out to it (DNS, TLS, proxy, firewall)",
    ),
    Fault(
        "KAV-152",
        "Twilio's REST API did not answer in time",
        "Nobody knows whether it was done: a call that was to be transferred may be ringing already.",
        "see status.twilio.com, and how long this host's way out to TWILIO_API_URL takes",
    ),
    Fault(
        "KAV-153",
        "Twilio's REST API refused our credentials",
        "No call can be transferred and no text message sent; calls are answered as before (20003).",
        "put SID and token of the account whose calls these are into TWILIO_ACCOUNT_SID and "
        "TWILIO_AUTH_TOKEN; an API key does not fit there",
    ),
    Fault(
        "KAV-154",
        "Twilio's REST API limits the rate of our requests",
        "This transfer, hang-up or text message was not done; the next may be (20429).",
        "look for another program that uses this account, or ask Twilio for a higher limit",
    ),
    Fault(
        "KAV-155",
        "Twilio's REST API has a fault of its own",
        "Nobody knows whether this transfer, hang-up or text message was done.",
        "see status.twilio.com",
    ),
    Fault(
        "KAV-156",
        "The call is not live at Twilio any more",
        "It cannot be transferred: the caller has hung up (21220), or Twilio does not know it (20404).",
        "none is needed when a caller was quicker; if every call does so, TWILIO_ACCOUNT_SID is another's",
    ),
    Fault(
        "KAV-157",
        "TwiML for a live call is longer than 4000 characters",
        "It was not sent, for Twilio takes no more in a request (32018); the call goes on as it is.",
        "shorten the texts that are spoken around a transfer",
    ),
    Fault(
        "KAV-158",
        "Twilio's REST API refused the request",
        "This transfer, hang-up or text message was not done, and trying again would not help.",
        "look up the code in the line at twilio.com/docs/api/errors; for a text message check that its "
        "numbers can send and get one",
    ),
    Fault(
        "KAV-159",
        "Something else than Twilio answers at TWILIO_API_URL",
        "No call can be transferred and no text message sent; calls are answered as before.",
        "remove TWILIO_API_URL, or write an address whose answers are Twilio's JSON",
    ),
    Fault(
        "KAV-161",
        "A business's own computer did not answer in time",
        "The caller is told so and offered to leave a message. What was asked may have been done all the "
        "same.",
        "look why the receiver is slow; a tool gets at most 8 s, for a caller waits",
    ),
    Fault(
        "KAV-162",
        "A business's own computer cannot be reached",
        "The caller is told so and offered to leave a message.",
        "check the tool's url, the receiver's certificate, and this host's way out to it (DNS, firewall)",
    ),
    Fault(
        "KAV-163",
        "A business's own computer answered with an HTTP error",
        "The model gets the status and what was said of it, and tells the caller.",
        "look the request up in the receiver's log by its Idempotency-Key; a 401 or 403 may mean another "
        "signing key, see docs/tools.md",
    ),
    Fault(
        "KAV-164",
        "A request to an address that is not allowed was refused",
        "Nothing was sent, or a redirect was not followed; the caller is offered to leave a message.",
        "write the final address into url, with a host on the public Internet; see docs/tools.md",
    ),
    Fault(
        "KAV-165",
        "A business's own computer answered too much",
        "The answer was dropped at 64 KB; the caller is told that there is none.",
        "let the receiver answer with what can be said on the telephone, some hundred words",
    ),
    Fault(
        "KAV-166",
        "A business's own computer answered what cannot be read",
        "The caller is told so and offered to leave a message.",
        "let the receiver answer JSON, or text with a Content-Type of text/plain, in UTF-8 and not packed",
    ),
    Fault(
        "KAV-167",
        "The model's arguments do not fit the tool",
        "No request was made; the model is told what is wrong and may try again.",
        "if it repeats, say in the parameters' descriptions what belongs there",
    ),
    Fault(
        "KAV-169",
        "The description of the businesses cannot be used",
        "The process does not start, so that no call meets half a description.",
        "correct what the message names; docs/businesses.md shows a whole file",
    ),
    Fault(
        "KAV-171",
        "The speech service cannot be reached, or has a fault of its own",
        "Tried twice. The caller gets no answer to what was just said.",
        "check OPENAI_BASE_URL, the way out to it (DNS, TLS, firewall), and the provider's status page",
    ),
    Fault(
        "KAV-172",
        "The speech service refused the key",
        "The caller gets no answer; trying again would not help.",
        "put a valid key with access to the audio and chat models into OPENAI_API_KEY",
    ),
    Fault(
        "KAV-173",
        "The account of the speech service has no quota or is deactivated",
        "The caller gets no answer; trying again would not help.",
        "add credit, or raise the limit, at the provider",
    ),
    Fault(
        "KAV-174",
        "The speech service has no such model, or nothing at this address",
        "The caller gets no answer; trying again would not help.",
        "check the names of the models and the path of OPENAI_BASE_URL (OpenAI's ends in /v1)",
    ),
    Fault(
        "KAV-175",
        "The speech service limits the rate of requests",
        "It asked for a longer wait than a caller can be kept in silence, or a second try met the limit too.",
        "raise the rate limit at the provider, or lower MAX_CALLS",
    ),
    Fault(
        "KAV-176",
        "The speech service refused a request for what it says",
        "The caller gets no answer to what was just said.",
        "correct the field the message names; a voice or a language that the model lacks is the usual cause",
    ),
    Fault(
        "KAV-177",
        "The speech service's answer broke off or is not what was asked for",
        "What came before is spoken; the rest is missing. A page or an error is never played as sound.",
        "check that OPENAI_BASE_URL leads to an OpenAI-compatible API and not to a proxy's page; the voice "
        "must be able to stream PCM at 24 kHz",
    ),
    Fault(
        "KAV-178",
        "The speech service gave nothing in time",
        "The request was given up, so that the caller does not sit in silence.",
        "choose a faster model, and look at the provider's status page",
    ),
    Fault(
        "KAV-179",
        "A model of the pipelined mode is past or near its shutdown",
        "On that day the service refuses it: no answers with CALL_MODE=pipeline, and none when the realtime "
        "model is gone either.",
        "set the variable to a model that the service still offers; where it offers none, as OpenAI for "
        "TTS_MODEL, set OPENAI_BASE_URL to another speech service with the same API, and STT_MODEL, "
        "LLM_MODEL and TTS_MODEL to its models",
    ),
    Fault(
        "KAV-181",
        "No connection to the model could be opened ahead of the calls",
        "Calls open their own, and wait for it, until one works again; it is tried after 1 s, 2 s … 60 s.",
        "check OPENAI_REALTIME_URL and this host's way out to it, or the provider's status page",
    ),
    Fault(
        "KAV-182",
        "The model refuses connections ahead of the calls",
        "For five minutes none is opened. Calls open their own, and are likely refused as well.",
        "see `python -m server explain` for the fault that the line names first",
    ),
    Fault(
        "KAV-183",
        "The model ends connections that wait for a call",
        "Spare ones are opened less often, up to a minute apart; calls without one open their own.",
        "set REALTIME_WARM=0 if it repeats: this endpoint ends sessions that are asked nothing",
    ),
    Fault(
        "KAV-184",
        "The database file cannot be used",
        "Calls go on. Messages and interrupted calls are kept in memory and are lost when this process ends; "
        "the file is tried again every 5 s.",
        "make its directory writable and its disk not full, or name another file: "
        "DATABASE_URL=sqlite:////absolute/path/kav.sqlite3",
    ),
    Fault(
        "KAV-185",
        "DATABASE_URL is not a database that this version can use",
        "Calls go on; messages and interrupted calls are kept in kav.sqlite3 in the working directory.",
        "use sqlite:///path, or leave it empty; set REDIS_URL where files do not outlive a restart",
    ),
    Fault(
        "KAV-186",
        "Redis cannot be reached",
        "Calls go on. Until Redis is back, an interrupted call can be continued by this process only, and "
        "messages go to the database file.",
        "check that the server of REDIS_URL runs and lets this host in; for a self-signed certificate, as "
        "Heroku's, add ?ssl_cert_reqs=none to the rediss:// URL; it is tried again every 2 s",
    ),
    Fault(
        "KAV-187",
        "REDIS_URL cannot be used",
        "Calls go on; messages and interrupted calls are kept in the database file alone.",
        "use redis://[user:password@]host:port/0 or rediss://… for TLS, and install requirements.txt",
    ),
    Fault(
        "KAV-188",
        "A stored record cannot be read or written",
        "The caller of that record begins a new conversation.",
        "none is needed once; if it repeats, look who else writes to that database or that Redis",
    ),
    Fault(
        "KAV-189",
        "More came than could be stored",
        "The oldest interrupted calls or messages are lost.",
        "see the line before it: the database or Redis has been out of reach for long, or the process ends",
    ),
    Fault(
        "KAV-199",
        "A fault of our own",
        "If a call ends by it, its caller is asked to leave a message; the others go on.",
        "report the traceback that follows",
    ),
)
