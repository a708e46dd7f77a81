//! Noun phrases and clauses, kept as meaning so that labels follow from what is changed.

use super::lexicon::*;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;

/// The generator of the suite: ChaCha, whose numbers are the same on every platform.
///
/// Shared, so that draws can nest in one expression; arguments are evaluated in order.
pub(super) struct Rng(RefCell<ChaCha8Rng>);

impl Rng {
    /// Draws that belong to this text.
    pub(super) fn named(name: &str) -> Self {
        Self(RefCell::new(ChaCha8Rng::from_seed(*blake3::hash(name.as_bytes()).as_bytes())))
    }

    pub(super) fn below(&self, count: usize) -> usize {
        self.0.borrow_mut().random_range(0..count)
    }

    pub(super) fn shuffle<T>(&self, list: &mut [T]) {
        list.shuffle(&mut *self.0.borrow_mut());
    }
}

/// One of a list that is never empty.
pub(super) fn pick<T: Copy>(rng: &Rng, from: &[T]) -> T {
    from[rng.below(from.len())]
}

/// One of a list that is never empty, where it stands.
pub(super) fn pick_ref<'a, T>(rng: &Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len())]
}

/// One of a list that `keep` admits; some always is.
pub(super) fn pick_where<'a, T>(rng: &Rng, from: &'a [T], keep: impl Fn(&'a T) -> bool) -> &'a T {
    let open: Vec<&'a T> = from.iter().filter(|item| keep(item)).collect();
    pick(rng, &open)
}

/// True `percent` times in a hundred.
pub(super) fn chance(rng: &Rng, percent: usize) -> bool {
    rng.below(100) < percent
}

/// An adjective: which word of which side of a quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Adjective {
    pub(super) word: &'static str,
    quality: &'static Quality,
    side: usize,
}

impl Adjective {
    pub(super) fn random(rng: &Rng, sort: Sort) -> Self {
        let qualities: &'static [Quality] = match sort {
            Sort::Person => &PERSON_QUALITIES,
            Sort::Animal => &ANIMAL_QUALITIES,
            Sort::Food => &FOOD_QUALITIES,
            Sort::Thing => &THING_QUALITIES,
        };
        let quality = pick_ref(rng, qualities);
        let side = rng.below(2);
        Self { word: pick(rng, quality[side]), quality, side }
    }

    /// One that speaks of something else.
    pub(super) fn unrelated(self, rng: &Rng, sort: Sort) -> Self {
        loop {
            let other = Self::random(rng, sort);
            if other.quality != self.quality {
                return other;
            }
        }
    }

    /// Of the same meaning; the same word where there is no other.
    pub(super) fn synonym(self, rng: &Rng) -> Self {
        let words = self.quality[self.side];
        let others: Vec<_> = words.iter().copied().filter(|word| *word != self.word).collect();
        if others.is_empty() { self } else { Self { word: pick(rng, &others), ..self } }
    }

    pub(super) fn opposite(self, rng: &Rng) -> Self {
        let side = 1 - self.side;
        Self { word: pick(rng, self.quality[side]), side, ..self }
    }
}

/// A noun with what stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase {
    pub(super) determiner: &'static str,
    pub(super) adjective: Option<Adjective>,
    pub(super) class: &'static Class,
    pub(super) noun: &'static Noun,
    pub(super) many: bool,
}

impl Phrase {
    /// `the`, `a`, `some` or a number before a member of a class of this sort, at times with an adjective.
    pub(super) fn random(rng: &Rng, sort: Sort) -> Self {
        let class = pick_where(rng, &CLASSES, |class| class.sort == sort);
        let mut phrase =
            Self { determiner: "the", adjective: None, class, noun: pick_ref(rng, class.members), many: false };
        phrase.many = chance(rng, 30);
        if chance(rng, 40) {
            let options: &[&str] = if phrase.many { &["some", "two", "three"] } else { &["a"] };
            phrase.determiner = pick(rng, options);
        }
        if chance(rng, 40) {
            phrase.adjective = Some(Adjective::random(rng, sort));
        }
        phrase
    }

    /// `the` before one of a kind.
    pub(super) fn the(rng: &Rng, sort: Sort) -> Self {
        Self { determiner: "the", adjective: None, many: false, ..Self::random(rng, sort) }
    }

    pub(super) fn sort(&self) -> Sort {
        self.class.sort
    }

    pub(super) fn text(&self) -> String {
        let noun = if self.many { self.noun.many } else { self.noun.one };
        let words = [Some(self.determiner), self.adjective.map(|adjective| adjective.word), Some(noun)];
        let words: Vec<_> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        with_article(&words)
    }

    /// The same with another noun of its class.
    pub(super) fn sibling(&self, rng: &Rng) -> Self {
        Self { noun: pick_where(rng, self.class.members, |noun| noun != self.noun), ..self.clone() }
    }

    /// The same with a noun of another class of its sort; `sibling` where there is only one class.
    pub(super) fn stranger(&self, rng: &Rng) -> Self {
        let class = pick_where(rng, &CLASSES, |class| class.sort == self.sort() && class != self.class);
        Self { class, noun: pick_ref(rng, class.members), ..self.clone() }
    }

    /// The same with the word for its class.
    pub(super) fn general(&self) -> Self {
        Self { noun: &self.class.name, ..self.clone() }
    }
}

/// Words in a row, `a` made `an` where it must be.
pub(super) fn with_article(words: &[&str]) -> String {
    let mut text = String::new();
    for (i, word) in words.iter().enumerate() {
        // no word of the lexicon that begins with `u` sounds like `you`
        let vowel = words.get(i + 1).is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u']));
        let word = if *word == "a" && vowel { "an" } else { word };
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// A sentence of these words: capital first letter, full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// Who does what to whom, where and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) subject: Phrase,
    pub(super) sense: Sense,
    pub(super) verb: &'static Verb,
    pub(super) object: Option<Phrase>,
    pub(super) place: Option<&'static Place>,
    pub(super) time: Option<&'static str>,
    pub(super) negated: bool,
}

/// How a clause is put into words, its meaning the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) passive: bool,
    pub(super) time_first: bool,
}

impl Style {
    pub(super) fn random(rng: &Rng) -> Self {
        Self { passive: chance(rng, 35), time_first: chance(rng, 40) }
    }
}

impl Clause {
    /// A person or animal alone (one in four) or with a person, animal, food or thing, in the past tense.
    pub(super) fn random(rng: &Rng) -> Self {
        let object = pick(rng, &[None, Some(Sort::Person), Some(Sort::Food), Some(Sort::Thing)]);
        match object {
            None => Self::lone(rng),
            Some(sort) => Self::with_object(rng, sort),
        }
    }

    pub(super) fn lone(rng: &Rng) -> Self {
        let sort = if chance(rng, 60) { Sort::Person } else { Sort::Animal };
        Self::of(rng, sort, &LONE_VERBS, None)
    }

    /// With an object; one of sort `Person` may be an animal, both being of the same sort.
    pub(super) fn with_object(rng: &Rng, sort: Sort) -> Self {
        match sort {
            Sort::Person | Sort::Animal => {
                let sort = if chance(rng, 75) { Sort::Person } else { Sort::Animal };
                let mut clause = Self::of(rng, sort, &PERSON_VERBS, None);
                let object = loop {
                    let object = Phrase::random(rng, sort);
                    if object.noun != clause.subject.noun {
                        break object;
                    }
                };
                clause.object = Some(object);
                clause
            }
            Sort::Food => Self::of(rng, Sort::Person, &FOOD_VERBS, Some(Sort::Food)),
            Sort::Thing => Self::of(rng, Sort::Person, &THING_VERBS, Some(Sort::Thing)),
        }
    }

    fn of(rng: &Rng, subject: Sort, senses: &'static [Sense], object: Option<Sort>) -> Self {
        let sense = pick(rng, senses);
        Self {
            subject: Phrase::random(rng, subject),
            sense,
            verb: pick_ref(rng, sense),
            object: object.map(|sort| Phrase::random(rng, sort)),
            place: chance(rng, 50).then(|| pick_ref(rng, &PLACES)),
            time: chance(rng, 45).then(|| pick(rng, &TIMES)),
            negated: false,
        }
    }

    /// The senses that could stand in this one's place.
    pub(super) fn senses(&self) -> &'static [Sense] {
        match self.object.as_ref().map(Phrase::sort) {
            None => &LONE_VERBS,
            Some(Sort::Person | Sort::Animal) => &PERSON_VERBS,
            Some(Sort::Food) => &FOOD_VERBS,
            Some(Sort::Thing) => &THING_VERBS,
        }
    }

    /// The same with a verb of another meaning.
    pub(super) fn other_verb(&self, rng: &Rng) -> Self {
        let sense = *pick_where(rng, self.senses(), |sense| *sense != self.sense);
        Self { sense, verb: pick_ref(rng, sense), ..self.clone() }
    }

    /// The same with a verb of the same meaning, another word where there is one.
    pub(super) fn same_verb(&self, rng: &Rng) -> Self {
        let others: Vec<_> = self.sense.iter().filter(|verb| *verb != self.verb).collect();
        let verb = if others.is_empty() { self.verb } else { pick(rng, &others) };
        Self { verb, ..self.clone() }
    }

    /// Subject and object change places.
    pub(super) fn swapped(&self) -> Option<Self> {
        let object = self.object.clone().filter(|object| object.sort() == self.subject.sort())?;
        Some(Self { subject: object, object: Some(self.subject.clone()), ..self.clone() })
    }

    /// The words, without capital and full stop. Without an object there is no passive.
    pub(super) fn text(&self, style: Style) -> String {
        let mut words = match (&self.object, style.passive) {
            (Some(object), true) => {
                let be = match (object.many, self.negated) {
                    (false, false) => "was",
                    (false, true) => "was not",
                    (true, false) => "were",
                    (true, true) => "were not",
                };
                format!("{} {be} {} by {}", object.text(), self.verb.participle, self.subject.text())
            }
            (object, _) => {
                let verb = if self.negated { format!("did not {}", self.verb.base) } else { self.verb.past.into() };
                let object = object.as_ref().map(|object| format!(" {}", object.text())).unwrap_or_default();
                format!("{} {verb}{object}", self.subject.text())
            }
        };
        if let Some(place) = self.place {
            words = format!("{words} {}", place.text);
        }
        match (self.time, style.time_first) {
            (Some(time), true) => format!("{time}, {words}"),
            (Some(time), false) => format!("{words} {time}"),
            (None, _) => words,
        }
    }

    pub(super) fn sentence(&self, style: Style) -> String {
        sentence(&self.text(style))
    }
}
