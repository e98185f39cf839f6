"""What is said of a thing after its noun: parts and materials, what it is without, what it does and stands by.

Each function reads the words from `place`, of which those before `after` were recognised as what begins it, and returns
where it ends.
"""

from __future__ import annotations

from gen3d.language.english import Opener, attribute_kind, is_posture, verb_of, word_set
from gen3d.language.noun_phrases import NounPhrase, read_count
from gen3d.language.sentence import PRONOUNS, Reader, Role
from gen3d.language.things import Relation

_LIMBS = frozenset("leg paw foot knee side back belly".split())
"""What a thing itself stands or lies on: "on two hind legs"."""


_RUNNERS = frozenset("wheel caster castor stilt leg ski roller".split())
"""What is a part of the thing that stands on it: "a horse on wheels"."""


def read_without(reader: Reader, place: int, after: int) -> int:
    """What is not wanted: "without armrests and wheels", "not red"."""
    words, denied, stop = reader.words, [], after
    while (phrase := reader.phrase(stop)) is not None:
        first = read_count(words, phrase.start)[0]
        denied.append(words.said(first, phrase.stop))
        stop = phrase.stop
        following = stop + words.opener(stop)[0]
        if words.opener(stop)[1].kind != "and" or words.ends(following) or words.is_action(following):
            break
        if reader.phrase(following) is None:
            break
        stop = following
    if not denied:
        return after
    reader.out.denied[place:stop] = [True] * (stop - place)
    if reader.subject >= 0:
        reader.out.things[reader.subject].without += denied
    return stop


def read_with(reader: Reader, place: int, after: int) -> int:
    """Parts that a thing has, and things that come with it: "with four legs and a cushion", "with a cat"."""
    words, owner, stop = reader.words, reader.subject, after
    while (phrase := reader.phrase(stop)) is not None:
        if reader.is_part(phrase):
            begin, stop = stop, reader.part(phrase, owner)
            reader.mark_main(place, after, owner)
            reader.mark_main(begin, stop, owner)
        else:
            kind = "wear" if phrase.name in word_set("clothes") else "with"
            stop = reader.thing(phrase, Role(kind, "", owner, words.said(place, after)))
            if kind == "with" and reader.refers(stop):
                _place_on(reader, owner, words.opener(stop)[1], words.lower[stop])
                stop += 2
        following = stop
        while following < len(words) and following - stop < 2 and words.lower[following] in (",", "and", "&"):
            following += 1
        if following == stop or not _lists_on(reader, following):
            break
        stop = following
    return max(stop, after)


def _place_on(reader: Reader, owner: int, opener: Opener, said: str) -> None:
    """Turns the last relation, "with" something, into what "on it" says of that something."""
    relations = reader.out.relations
    if relations and relations[-1].kind == "with" and relations[-1].target == owner:
        kind, _, side = opener.detail.partition(" ")
        relations[-1] = Relation(kind, relations[-1].anchor, owner, said, side)


def _lists_on(reader: Reader, place: int) -> bool:
    """Whether the list of parts goes on at `place`: with another noun, not with something that is done."""
    words = reader.words
    if words.ends(place) or words.opener(place)[0] or words.is_action(place):
        return False
    phrase = reader.phrase(place)
    return phrase is not None and (phrase.determined or reader.is_part(phrase) or phrase.plural)


def read_made(reader: Reader, place: int, after: int) -> int:
    """What a thing is made of, covered with or shaped like; it stays with it as an attribute."""
    words, phrase = reader.words, reader.phrase(after)
    if phrase is None:
        return after
    stop = phrase.stop
    while words.lower[stop : stop + 1] == ["and"] and (more := reader.phrase(stop + 1)) is not None:
        if more.determined or words.is_action(stop + 1) or words.opener(stop + 1)[0]:
            break
        stop = more.stop
    reader.out.things[reader.subject].attributes.append(words.said(place, stop))
    reader.mark_main(place, stop, reader.subject)
    return stop


def read_is(reader: Reader, place: int, after: int) -> int:
    """ "is red": an attribute; "is sitting on" goes on as if the verb stood alone."""
    words, stop = reader.words, after
    while not words.ends(stop) and not words.is_action(stop) and (length := words.attribute_at(stop)):
        reader.out.things[reader.subject].attributes.append(words.said(stop, stop + length))
        stop += length
        if words.lower[stop : stop + 1] == ["and"]:
            stop += 1
    if stop > after:
        reader.mark_main(place, stop, reader.subject)
    return stop


def read_and(reader: Reader, place: int, after: int) -> int:
    """ "and" before another attribute; another thing or action goes on by itself."""
    words = reader.words
    if words.ends(after) or words.is_action(after):
        return after
    phrase = reader.phrase(after)
    if phrase is None or reader.is_thing(phrase):
        return after
    reader.describe(phrase)
    reader.mark_main(place, after, reader.subject)
    return phrase.stop


def read_relation(reader: Reader, place: int, after: int, detail: str) -> int:
    """ "on a chair", "riding a horse": another thing, and how the subject stands to it. detail: kind and side."""
    words, said = reader.words, reader.words.said(place, after)
    if reader.subject < 0 or words.ends(after):
        return after
    phrase = reader.phrase(after)
    if words.lower[after] in PRONOUNS | {"half"}:
        return read_pose(reader, place, after)
    if phrase is None:
        return after
    if phrase.name.split()[-1] in _LIMBS and is_posture(verb_of(words.lower[place])):
        return read_pose(reader, place, after)
    if said == "on" and not phrase.determined and phrase.name in _RUNNERS:
        stop = reader.part(phrase, reader.subject)
        reader.mark_main(place, stop, reader.subject)
        return stop
    bare = words.lower[phrase.noun : phrase.stop]
    if said == "in" and not phrase.determined and all(attribute_kind(word) for word in bare):
        reader.describe(phrase)  # "a chair in red"
        reader.mark_main(place, phrase.stop, reader.subject)
        return phrase.stop
    kind, _, side = detail.partition(" ")
    kind = _kind_by_anchor(kind, phrase)
    surrounded = kind == "surrounded_by"
    role = Role("surround" if surrounded else kind, side, reader.subject, said)
    subject, before = reader.subject, len(reader.out.relations)
    stop = reader.thing(phrase, role)
    reader.subject = subject
    reader.joined = role if _another_follows(reader, stop) else None
    if surrounded and len(reader.out.relations) > before:
        last = reader.out.relations[before]
        reader.out.relations[before] = Relation(last.kind, last.anchor, last.target, last.words)
    return stop


def _kind_by_anchor(kind: str, phrase: NounPhrase) -> str:
    """SceneEval tells walls, ceilings and rooms from things; what one is "in" may be clothes."""
    name, head = phrase.name, phrase.name.split()[-1]
    if name in word_set("wall_words"):
        return {"on_top": "on_wall", "next_to": "against_wall", "hang_from": "on_wall"}.get(kind, kind)
    if name in word_set("ceiling_words"):
        return "hang_from_ceiling" if kind in ("on_top", "hang_from", "from") else kind
    if name in word_set("room_words"):
        return {"inside_of": "inside_room", "middle_of": "middle_of_room"}.get(kind, kind)
    if kind == "inside_of" and {name, head} & word_set("clothes"):
        return "wear"
    return "corner_of_room" if kind == "inside_of" and name == "corner" else kind


def _another_follows(reader: Reader, place: int) -> bool:
    """Whether "and" and another noun follow, which then stands in the same relation: "on a table and a chair"."""
    words, after = reader.words, place + 1
    if words.lower[place:after] not in (["and"], ["&"]) or words.ends(after):
        return False
    if words.opener(after)[0] or words.is_action(after):
        return False
    phrase = reader.phrase(after)
    # In "a book on a shelf and a vase on a table" the vase stands for itself.
    return phrase is not None and words.opener(phrase.stop)[1].kind not in ("relation", "copula")


def read_pose(reader: Reader, place: int, after: int) -> int:
    """ "lying on its back", "in half": how the thing itself is placed."""
    words, stop = reader.words, after
    while not words.ends(stop) and (stop == after or not words.opener(stop)[0]):
        if stop > after and words.is_action(stop):
            break
        stop += 1
    reader.out.actions.append(words.said(place, stop))
    return stop


def read_action(reader: Reader, place: int) -> int:
    """A verb and what it is done with: "riding a horse", "sitting on a chair", "running"."""
    words = reader.words
    word = words.lower[place]
    verb = verb_of(word) or word
    if word.endswith("ed") and words.only_attributes(place + 1):
        return read_is(reader, place, place + 1)  # "a stool painted red"
    stop = words.after_manner(place + 1)
    length, opener = words.opener(stop)
    if opener.kind == "relation":
        detail = "hang_from" if verb == "hang" and opener.detail == "from" else opener.detail
        placed = word.endswith("ed") or verb not in word_set("directed")
        return read_relation(reader, place, stop + length, detail if placed else verb)
    if not opener.kind and not words.ends(stop):
        if words.lower[stop] in PRONOUNS:
            return read_pose(reader, place, stop)
        another = not read_count(words, stop)[2] and words.is_action(stop)
        if reader.phrase(stop) is not None and not another:
            return read_relation(reader, place, stop, verb)
    reader.out.actions.append(words.said(place, stop))
    return stop
