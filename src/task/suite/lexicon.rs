//! The words of the built-in suite: a few hundred common ones, with the relations that its labels follow from.

/// A noun in both numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noun {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

/// What sort of thing a class of nouns is: which verbs and adjectives go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Person,
    Animal,
    Food,
    Thing,
}

/// A word for several nouns: every member is one of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) sort: Sort,
    pub(super) name: Noun,
    pub(super) members: &'static [Noun],
}

/// The forms of a verb.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verb {
    pub(super) base: &'static str,
    pub(super) third: &'static str,
    pub(super) past: &'static str,
    pub(super) participle: &'static str,
    pub(super) ing: &'static str,
}

/// Verbs of one meaning.
pub(super) type Sense = &'static [Verb];

/// Adjectives of one meaning, and those of the opposite one.
pub(super) type Quality = [&'static [&'static str]; 2];

/// A place, and whether it is outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) text: &'static str,
    pub(super) outside: bool,
}

const fn n(one: &'static str, many: &'static str) -> Noun {
    Noun { one, many }
}

const fn v(
    base: &'static str,
    third: &'static str,
    past: &'static str,
    participle: &'static str,
    ing: &'static str,
) -> Verb {
    Verb { base, third, past, participle, ing }
}

/// A verb whose past and participle are the same.
const fn r(base: &'static str, third: &'static str, past: &'static str, ing: &'static str) -> Verb {
    v(base, third, past, past, ing)
}

const fn inside(text: &'static str) -> Place {
    Place { text, outside: false }
}

const fn outside(text: &'static str) -> Place {
    Place { text, outside: true }
}

pub(super) static CLASSES: [Class; 15] = [
    Class {
        sort: Sort::Person,
        name: n("artist", "artists"),
        members: &[n("painter", "painters"), n("singer", "singers"), n("dancer", "dancers"), n("poet", "poets")],
    },
    Class {
        sort: Sort::Person,
        name: n("worker", "workers"),
        members: &[n("farmer", "farmers"), n("baker", "bakers"), n("builder", "builders"), n("miner", "miners")],
    },
    Class {
        sort: Sort::Person,
        name: n("relative", "relatives"),
        members: &[n("uncle", "uncles"), n("aunt", "aunts"), n("cousin", "cousins"), n("brother", "brothers")],
    },
    Class {
        sort: Sort::Person,
        name: n("child", "children"),
        members: &[n("boy", "boys"), n("girl", "girls"), n("pupil", "pupils"), n("orphan", "orphans")],
    },
    Class {
        sort: Sort::Person,
        name: n("leader", "leaders"),
        members: &[n("king", "kings"), n("queen", "queens"), n("mayor", "mayors"), n("captain", "captains")],
    },
    Class {
        sort: Sort::Animal,
        name: n("animal", "animals"),
        members: &[
            n("dog", "dogs"),
            n("cat", "cats"),
            n("horse", "horses"),
            n("cow", "cows"),
            n("fox", "foxes"),
            n("rabbit", "rabbits"),
        ],
    },
    Class {
        sort: Sort::Animal,
        name: n("bird", "birds"),
        members: &[n("owl", "owls"), n("duck", "ducks"), n("crow", "crows"), n("goose", "geese")],
    },
    Class {
        sort: Sort::Food,
        name: n("fruit", "fruits"),
        members: &[n("apple", "apples"), n("pear", "pears"), n("plum", "plums"), n("lemon", "lemons")],
    },
    Class {
        sort: Sort::Food,
        name: n("vegetable", "vegetables"),
        members: &[n("carrot", "carrots"), n("onion", "onions"), n("potato", "potatoes"), n("bean", "beans")],
    },
    Class {
        sort: Sort::Thing,
        name: n("tool", "tools"),
        members: &[n("hammer", "hammers"), n("saw", "saws"), n("spade", "spades"), n("axe", "axes")],
    },
    Class {
        sort: Sort::Thing,
        name: n("vehicle", "vehicles"),
        members: &[n("car", "cars"), n("truck", "trucks"), n("bus", "buses"), n("tractor", "tractors")],
    },
    Class {
        sort: Sort::Thing,
        name: n("instrument", "instruments"),
        members: &[n("piano", "pianos"), n("violin", "violins"), n("drum", "drums"), n("flute", "flutes")],
    },
    Class {
        sort: Sort::Thing,
        name: n("garment", "garments"),
        members: &[n("coat", "coats"), n("shirt", "shirts"), n("hat", "hats"), n("dress", "dresses")],
    },
    Class {
        sort: Sort::Thing,
        name: n("container", "containers"),
        members: &[n("box", "boxes"), n("bag", "bags"), n("basket", "baskets"), n("bottle", "bottles")],
    },
    Class {
        sort: Sort::Thing,
        name: n("document", "documents"),
        members: &[n("letter", "letters"), n("report", "reports"), n("ticket", "tickets"), n("map", "maps")],
    },
];

const BUY: [Verb; 2] = [r("buy", "buys", "bought", "buying"), r("purchase", "purchases", "purchased", "purchasing")];
const SELL: [Verb; 1] = [r("sell", "sells", "sold", "selling")];
const CHOOSE: [Verb; 2] =
    [v("choose", "chooses", "chose", "chosen", "choosing"), r("select", "selects", "selected", "selecting")];
const WASH: [Verb; 2] = [r("wash", "washes", "washed", "washing"), r("rinse", "rinses", "rinsed", "rinsing")];

/// What is done to things.
pub(super) static THING_VERBS: [Sense; 11] = [
    &BUY,
    &SELL,
    &CHOOSE,
    &[r("repair", "repairs", "repaired", "repairing"), r("mend", "mends", "mended", "mending")],
    &[v("hide", "hides", "hid", "hidden", "hiding"), r("conceal", "conceals", "concealed", "concealing")],
    &[r("find", "finds", "found", "finding"), r("discover", "discovers", "discovered", "discovering")],
    &[r("lose", "loses", "lost", "losing"), r("misplace", "misplaces", "misplaced", "misplacing")],
    &[r("move", "moves", "moved", "moving"), r("shift", "shifts", "shifted", "shifting")],
    &[r("examine", "examines", "examined", "examining"), r("inspect", "inspects", "inspected", "inspecting")],
    &[r("destroy", "destroys", "destroyed", "destroying"), r("wreck", "wrecks", "wrecked", "wrecking")],
    &[v("steal", "steals", "stole", "stolen", "stealing")],
];

/// What is done to food.
pub(super) static FOOD_VERBS: [Sense; 8] = [
    &BUY,
    &SELL,
    &CHOOSE,
    &WASH,
    &[v("eat", "eats", "ate", "eaten", "eating"), r("consume", "consumes", "consumed", "consuming")],
    &[r("cook", "cooks", "cooked", "cooking")],
    &[r("pick", "picks", "picked", "picking"), r("gather", "gathers", "gathered", "gathering")],
    &[r("peel", "peels", "peeled", "peeling")],
];

/// What people and animals do to one another.
pub(super) static PERSON_VERBS: [Sense; 13] = [
    &[r("help", "helps", "helped", "helping"), r("assist", "assists", "assisted", "assisting")],
    &[r("watch", "watches", "watched", "watching"), r("observe", "observes", "observed", "observing")],
    &[r("meet", "meets", "met", "meeting"), r("encounter", "encounters", "encountered", "encountering")],
    &[r("frighten", "frightens", "frightened", "frightening"), r("scare", "scares", "scared", "scaring")],
    &[r("push", "pushes", "pushed", "pushing"), r("shove", "shoves", "shoved", "shoving")],
    &[r("follow", "follows", "followed", "following"), r("trail", "trails", "trailed", "trailing")],
    &[r("greet", "greets", "greeted", "greeting"), r("welcome", "welcomes", "welcomed", "welcoming")],
    &[r("rescue", "rescues", "rescued", "rescuing"), r("save", "saves", "saved", "saving")],
    &[r("comfort", "comforts", "comforted", "comforting"), r("console", "consoles", "consoled", "consoling")],
    &[r("trick", "tricks", "tricked", "tricking"), r("fool", "fools", "fooled", "fooling")],
    &[r("visit", "visits", "visited", "visiting")],
    &[r("praise", "praises", "praised", "praising")],
    &[r("blame", "blames", "blamed", "blaming")],
];

/// What people and animals do by themselves.
pub(super) static LONE_VERBS: [Sense; 13] = [
    &[r("sleep", "sleeps", "slept", "sleeping")],
    &[r("laugh", "laughs", "laughed", "laughing")],
    &[r("cry", "cries", "cried", "crying"), r("weep", "weeps", "wept", "weeping")],
    &[v("sing", "sings", "sang", "sung", "singing")],
    &[r("dance", "dances", "danced", "dancing")],
    &[r("walk", "walks", "walked", "walking"), r("stroll", "strolls", "strolled", "strolling")],
    &[r("wait", "waits", "waited", "waiting")],
    &[r("arrive", "arrives", "arrived", "arriving")],
    &[r("depart", "departs", "departed", "departing"), r("leave", "leaves", "left", "leaving")],
    &[r("smile", "smiles", "smiled", "smiling"), r("grin", "grins", "grinned", "grinning")],
    &[v("swim", "swims", "swam", "swum", "swimming")],
    &[r("shout", "shouts", "shouted", "shouting"), r("yell", "yells", "yelled", "yelling")],
    &[r("rest", "rests", "rested", "resting"), r("relax", "relaxes", "relaxed", "relaxing")],
];

/// What passes from one to another.
pub(super) static GIVE_VERBS: [Sense; 5] = [
    &[v("give", "gives", "gave", "given", "giving")],
    &[r("send", "sends", "sent", "sending"), r("mail", "mails", "mailed", "mailing")],
    &[v("show", "shows", "showed", "shown", "showing")],
    &[r("lend", "lends", "lent", "lending"), r("loan", "loans", "loaned", "loaning")],
    &[r("hand", "hands", "handed", "handing"), r("pass", "passes", "passed", "passing")],
];

pub(super) static PERSON_QUALITIES: [Quality; 9] = [
    [&["old", "elderly"], &["young"]],
    [&["tall"], &["short"]],
    [&["rich", "wealthy"], &["poor"]],
    [&["happy", "glad"], &["sad", "unhappy"]],
    [&["angry", "furious"], &["calm"]],
    [&["strong"], &["weak"]],
    [&["clever", "smart"], &["foolish", "silly"]],
    [&["famous"], &["unknown"]],
    [&["brave", "fearless"], &["timid"]],
];

pub(super) static ANIMAL_QUALITIES: [Quality; 6] = [
    [&["big", "large"], &["small", "little"]],
    [&["fast", "quick"], &["slow"]],
    [&["noisy", "loud"], &["quiet", "silent"]],
    [&["healthy"], &["sick", "ill"]],
    [&["wild"], &["tame"]],
    [&["old"], &["young"]],
];

pub(super) static FOOD_QUALITIES: [Quality; 4] = [
    [&["big", "large"], &["small", "little"]],
    [&["fresh"], &["rotten", "spoiled"]],
    [&["cheap"], &["expensive", "costly"]],
    [&["sweet"], &["sour"]],
];

pub(super) static THING_QUALITIES: [Quality; 7] = [
    [&["big", "large"], &["small", "little"]],
    [&["new"], &["old"]],
    [&["heavy"], &["light"]],
    [&["clean"], &["dirty"]],
    [&["wet"], &["dry"]],
    [&["cheap"], &["expensive", "costly"]],
    [&["pretty"], &["ugly"]],
];

pub(super) static PLACES: [Place; 16] = [
    outside("in the garden"),
    outside("by the river"),
    outside("on the hill"),
    outside("in the forest"),
    outside("on the beach"),
    outside("near the lake"),
    outside("in the field"),
    outside("beside the road"),
    inside("in the kitchen"),
    inside("in the library"),
    inside("in the cellar"),
    inside("in the hall"),
    inside("in the museum"),
    inside("in the office"),
    inside("in the theatre"),
    inside("in the bedroom"),
];

pub(super) static TIMES: [&str; 14] = [
    "yesterday",
    "last week",
    "last summer",
    "on Monday",
    "on Friday",
    "on Sunday",
    "in the morning",
    "in the evening",
    "at noon",
    "at night",
    "after lunch",
    "before dinner",
    "in April",
    "in October",
];

/// First names: of women, then of men.
pub(super) static NAMES: [&[&str]; 2] = [
    &["Anna", "Maria", "Clara", "Emma", "Julia", "Laura", "Nora", "Sarah"],
    &["Peter", "John", "Paul", "David", "Martin", "Simon", "Thomas", "Victor"],
];

pub(super) static TOWNS: [&str; 10] =
    ["Paris", "London", "Rome", "Berlin", "Madrid", "Vienna", "Dublin", "Oslo", "Boston", "Chicago"];
