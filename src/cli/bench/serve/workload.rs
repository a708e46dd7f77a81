//! What is asked and when: Poisson arrivals, adapters by Zipf's law, lengths by a distribution; all from one seed.

use super::super::peer::{random_id, span};
use rand::distr::Distribution;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Exp, LogNormal, Zipf};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Most tokens that a distribution gives.
const LONGEST: usize = 4096;

/// How long texts are, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lengths {
    Fixed(usize),
    Uniform { least: usize, most: usize },
    LogNormal { median: f64, sigma: f64 },
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no distribution of lengths from 1 to {LONGEST}: give 64, uniform:16-128, lognormal or \
                 lognormal:64,0.6 (median, σ)"
            )
        };
        let whole = |text: &str| text.parse().ok().filter(|length| (1..=LONGEST).contains(length)).ok_or_else(wrong);
        match text.split_once(':') {
            None if text == "lognormal" => Ok(Self::LogNormal { median: 64.0, sigma: 0.6 }),
            None => Ok(Self::Fixed(whole(text)?)),
            Some(("uniform", range)) => {
                let (least, most) = range.split_once('-').ok_or_else(wrong)?;
                let (least, most) = (whole(least)?, whole(most)?);
                if least <= most { Ok(Self::Uniform { least, most }) } else { Err(wrong()) }
            }
            Some(("lognormal", parameters)) => {
                let (median, sigma) = parameters.split_once(',').ok_or_else(wrong)?;
                let sigma = sigma.parse().ok().filter(|sigma: &f64| (0.0..=3.0).contains(sigma)).ok_or_else(wrong)?;
                Ok(Self::LogNormal { median: whole(median)? as f64, sigma })
            }
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform { least, most } => write!(f, "uniform:{least}-{most}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median},{sigma}"),
        }
    }
}

/// A number where they are all alike.
impl Serialize for Lengths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(length) => length.serialize(serializer),
            _ => serializer.collect_str(self),
        }
    }
}

impl Lengths {
    fn draw(self, rng: &mut ChaCha8Rng) -> usize {
        match self {
            Self::Fixed(length) => length,
            Self::Uniform { least, most } => rng.random_range(least..=most),
            Self::LogNormal { median, sigma } => {
                // the parameters were checked when they were read
                let drawn = LogNormal::new(median.ln(), sigma).map_or(median, |law| law.sample(rng));
                (drawn.round() as usize).clamp(1, LONGEST)
            }
        }
    }
}

/// What to draw requests from.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    /// Adapters that are asked for, the most popular first; none is the bare backbone.
    pub(super) adapters: usize,
    /// Exponent of Zipf's law; 0 asks for all alike.
    pub(super) zipf: f64,
    pub(super) source: Lengths,
    pub(super) output: Lengths,
    /// Of the backbone, from which the ids are drawn.
    pub(super) vocabulary: usize,
    pub(super) seed: u64,
}

/// One request to make.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    /// Number of the adapter, if one is asked.
    pub(super) adapter: Option<usize>,
    pub(super) ids: Vec<u32>,
    pub(super) output: usize,
}

/// Requests without end.
pub(super) struct Workload {
    mix: Mix,
    popularity: Option<Zipf<f64>>,
    rng: ChaCha8Rng,
    /// Ids of the sources so far, the end tokens included.
    made: u64,
}

impl Workload {
    /// The exponent must not be negative.
    pub(super) fn new(mix: Mix) -> Self {
        let popularity = (mix.adapters > 0).then(|| Zipf::new(mix.adapters as f64, mix.zipf.max(0.0)).ok()).flatten();
        Self { popularity, rng: ChaCha8Rng::seed_from_u64(mix.seed), mix, made: 0 }
    }

    /// Time to the next arrival at this rate a second.
    pub(super) fn gap(&mut self, rate: f64) -> Duration {
        Exp::new(rate).map_or(Duration::MAX, |law| Duration::from_secs_f64(law.sample(&mut self.rng)))
    }

    pub(super) fn next(&mut self) -> Planned {
        let adapter = self.popularity.map(|law| law.sample(&mut self.rng) as usize - 1);
        // the ids of the peers' rows one after the other, each row's last in place of which the server puts the end token
        let length = (self.mix.source.draw(&mut self.rng) as u64).max(2);
        let span = span(self.mix.vocabulary).unwrap_or(1);
        let ids = (self.made..self.made + length - 1).map(|at| random_id(self.mix.seed, at, span)).collect();
        self.made += length;
        Planned { adapter, ids, output: self.mix.output.draw(&mut self.rng) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::peer::random_ids;
    use super::*;

    fn mix(adapters: usize, zipf: f64) -> Mix {
        let (source, output) = (Lengths::Fixed(9), Lengths::Uniform { least: 2, most: 5 });
        Mix { adapters, zipf, source, output, vocabulary: 96, seed: 1 }
    }

    #[test]
    fn lengths_are_read() {
        #[track_caller]
        fn check(text: &str, wanted: &str) {
            let found = text.parse::<Lengths>().map_or_else(|error| error, |lengths| lengths.to_string());
            assert!(found.contains(wanted), "{text} gave {found}");
        }
        check("64", "64");
        check("uniform:16-128", "uniform:16-128");
        check("lognormal", "lognormal:64,0.6");
        check("lognormal:20,0.5", "lognormal:20,0.5");
        for wrong in ["", "0", "9999", "uniform:9-3", "uniform:3", "lognormal:3", "lognormal:3,-1", "poisson:3"] {
            check(wrong, "is no distribution of lengths");
        }
    }

    #[test]
    fn lengths_follow_their_law() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut draws = |lengths: Lengths| -> Vec<usize> {
            let mut all: Vec<_> = (0..4001).map(|_| lengths.draw(&mut rng)).collect();
            all.sort();
            all
        };
        let uniform = draws(Lengths::Uniform { least: 3, most: 6 });
        assert_eq!((uniform[0], uniform[4000]), (3, 6));
        let long = draws(Lengths::LogNormal { median: 64.0, sigma: 0.6 });
        // the quantiles of exp(N(ln 64, 0.6)): median 64, upper quartile 64 · exp(0.6 · 0.6745) = 95.9
        assert!((60..=68).contains(&long[2000]) && (89..=103).contains(&long[3000]), "{} {}", long[2000], long[3000]);
    }

    #[test]
    fn arrivals_are_poisson() {
        let mut workload = Workload::new(mix(0, 1.0));
        let gaps: Vec<f64> = (0..20_000).map(|_| workload.gap(50.0).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "a coefficient of variation of 1");
    }

    #[test]
    fn adapters_are_as_popular_as_zipf_says() {
        let mut workload = Workload::new(mix(100, 1.0));
        let mut counts = [0; 100];
        (0..20_000).for_each(|_| counts[workload.next().adapter.unwrap()] += 1);
        let harmonic: f64 = (1..=100).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1, 2, 10] {
            let wanted = 20_000.0 / (rank as f64 * harmonic);
            let found = f64::from(counts[rank - 1]);
            assert!((found - wanted).abs() < 5.0 * wanted.sqrt(), "rank {rank}: {found} instead of {wanted}");
        }
        let mut alike = Workload::new(mix(2, 0.0));
        let first = (0..2000).filter(|_| alike.next().adapter == Some(0)).count();
        assert!((850..1150).contains(&first), "{first}");
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let all = |adapters| {
            let mut workload = Workload::new(mix(adapters, 1.0));
            (0..50).map(|_| workload.next()).collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        let bare = all(0);
        assert!(bare.iter().all(|planned| planned.adapter.is_none() && planned.ids.len() == 8));
        assert!(bare.iter().all(|planned| (2..=5).contains(&planned.output)));
        assert!(bare.iter().flat_map(|planned| &planned.ids).all(|id| (3..96).contains(id)));
        let peers = random_ids(50, 9, 1, 93);
        assert!(bare.iter().zip(&peers).all(|(planned, peer)| planned.ids == peer[..8]), "but for the end token");
    }
}
