"""Which of an endpoint's models talks where nobody has said it."""

import re

# Made for something else than conversations.
OTHER = re.compile(r"embed|whisper|tts|dall-e|moderation|rerank|transcri|realtime|image|audio|sora|davinci|babbage")
SMALL = re.compile(r"(^|[-_.:/])(mini|small|flash|lite|haiku)([-_.:/]|$)")
SPECIAL = re.compile(r"search|research|codex|instruct|preview")
FEW = 10


def named(listed):
    """Of the entries of a list of models, names of those that can talk, in their order, with the time each was made at."""
    found = {}
    for entry in listed if isinstance(listed, list) else []:
        name = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(name, str) and 0 < len(name) <= 200:
            found[name] = entry["created"] if isinstance(entry.get("created"), int) else 0
    return {name: made for name, made in found.items() if not OTHER.search(name.lower())} or found


def preferred(models):
    """The first one of few. Of a provider's many the newest small one: who wants to pay for a large one says so."""
    if len(models) <= FEW:
        return next(iter(models))
    small = [name for name in models if SMALL.search(name.lower()) and not SPECIAL.search(name.lower())]
    return max(small or models, key=lambda name: models[name])
