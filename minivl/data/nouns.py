"""Nouns as people say them: articles, plurals and the exceptions that no rule knows."""


def _nouns(text: str) -> frozenset[str]:
    return frozenset(" ".join(noun.split()) for noun in text.split(";"))


WITHOUT_ARTICLE = _nouns(
    """popcorn; bread; baguette bread; bacon; butter; salt; broccoli; garlic; ginger root;
    spaghetti; sushi; cooked rice; curry rice; shaved ice; ice; mate; oden; sake; dango; yarn;
    thread; wood; coral; fire; fog; soap; canned food; falafel; green salad; camping; lacrosse;
    badminton;
    tennis; bowling; ping pong; ice hockey; field hockey; soft ice cream; ice cream;
    money with wings"""
)
"""Mass nouns: "popcorn", never "a popcorn"."""

PLURALS = _nouns(
    """grapes; cherries; blueberries; beans; peanuts; pancakes; french fries; chopsticks; glasses;
    sunglasses; goggles; jeans; shorts; briefs; gloves; socks; scissors; ballet shoes; prayer beads;
    clinking beer mugs; clinking glasses; houses; skis; maracas; books; chains; shopping bags;
    musical notes; fireworks; sparkles; bubbles; headphones; control knobs; nesting dolls;
    crossed swords; linked paperclips; cherry blossoms; Japanese dolls; paw prints;
    fork and knife; hot springs; film frames; woman’s clothes"""
)
"""Plural in form: "some grapes", "there are some grapes"."""

AN_BEFORE_CONSONANT_LETTER = frozenset({"hourglass", "x-ray", "hour", "heir"})
A_BEFORE_VOWEL_LETTER = frozenset(
    {"unicorn", "unicycle", "ukulele", "uniform", "one-piece", "euro"}
)

SYNONYMS = {
    "spouting whale": "whale",
    "automobile": "car",
    "lady beetle": "ladybug",
    "baguette bread": "baguette",
    "shortcake": "slice of cake",
    "mobile phone": "phone",
    "tropical fish": "fish",
    "steaming bowl": "bowl of noodles",
    "glass of milk": "glass of milk",
    "ear of corn": "corn cob",
    "cheese wedge": "piece of cheese",
    "wrapped gift": "gift",
    "passenger ship": "ship",
    "closed umbrella": "folded umbrella",
    "poultry leg": "chicken leg",
    "beer mug": "mug of beer",
    "hot beverage": "cup of coffee",
    "soccer ball": "football",
    "evergreen tree": "fir tree",
    "red apple": "apple",
    "couch and lamp": "couch",
    "artist palette": "palette",
    "honeybee": "bee",
}
"""Unicode's labels that nobody says, and the word that people use instead."""


def everyday_name(label: str) -> str:
    """The everyday word for a Unicode label ("automobile" -> "car"), without " face"."""
    name = SYNONYMS.get(label, label)
    return name.removesuffix(" face")


def is_plural(name: str) -> bool:
    """Whether the noun takes "are" and "some"."""
    return name in PLURALS


def noun_phrase(name: str, *adjectives: str) -> str:
    """The noun with article and adjectives: "an owl", "a small owl", "popcorn", "some grapes"."""
    words = " ".join((*[a for a in adjectives if a], name))
    if name in WITHOUT_ARTICLE:
        return words
    if name in PLURALS:
        return f"some {words}"
    first = words.split()[0].lower()
    vowel = first[0] in "aeiou" and first not in A_BEFORE_VOWEL_LETTER
    return f"{'an' if vowel or first in AN_BEFORE_CONSONANT_LETTER else 'a'} {words}"
