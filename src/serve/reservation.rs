//! Who may pass a request that waits for room: whoever leaves its room as it is by the time at which it has it at the latest.
//!
//! This is EASY backfilling (Lifka, The ANL/IBM SP Scheduling System, 1995), in turns of the engine. A large request has its room
//! when those under way are through, which is known as they say how many tokens they may make. What it waits for is of use until
//! then: requests that are through by then go first, and so do those for which there is room beside it. So none waits for room that
//! stands empty, and the large one waits no longer than if nobody had come behind it, had all of them made what they may.

/// What a request holds, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    /// Turns that it takes at most.
    pub(super) turns: usize,
    /// Rows of the decoder.
    pub(super) rows: usize,
    /// Source tokens whose keys and values are held.
    pub(super) source: usize,
}

/// Rows, and source tokens that are held and may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub(super) rows: usize,
    pub(super) held: usize,
    pub(super) most: usize,
}

impl Space {
    /// Where rows alone count.
    pub(super) fn of_rows(rows: usize) -> Self {
        Self { rows, held: 0, most: usize::MAX }
    }

    /// Whether a request has its room here; a source that is alone always has it.
    pub(super) fn fits(self, request: Holding) -> bool {
        request.rows <= self.rows && (self.held == 0 || request.source == 0 || self.held + request.source <= self.most)
    }

    /// The space once a request has its room.
    pub(super) fn without(self, request: Holding) -> Self {
        Self { rows: self.rows - request.rows, held: self.held + request.source, ..self }
    }

    fn freed_of(self, request: Holding) -> Self {
        // of a source that others share as well, tokens are counted more than once
        Self { rows: self.rows + request.rows, held: self.held.saturating_sub(request.source), ..self }
    }
}

/// Room for the first request that waits for some.
#[derive(Debug)]
pub(super) struct Reservation {
    /// When it has its room at the latest, in turns from now.
    turns: usize,
    /// What is left beside it then.
    beside: Space,
}

impl Reservation {
    /// For a request that has no room in `space`, while those `under_way` hold the rest.
    pub(super) fn new<'a>(
        request: Holding,
        mut space: Space,
        under_way: impl IntoIterator<Item = &'a Holding>,
    ) -> Self {
        let mut under_way: Vec<_> = under_way.into_iter().copied().collect();
        under_way.sort_by_key(|holding| holding.turns);
        let mut turns = 0;
        for holding in under_way {
            if space.fits(request) {
                break;
            }
            (space, turns) = (space.freed_of(holding), holding.turns);
        }
        let rows = space.rows.saturating_sub(request.rows);
        Self { turns, beside: Space { rows, held: space.held + request.source, ..space } }
    }

    /// Whether a request that has room now may go first, as all of these have it, which it then does.
    pub(super) fn let_pass<'a>(reservations: impl Iterator<Item = &'a mut Self>, request: Holding) -> bool {
        let reservations: Vec<_> = reservations.filter(|reserved| request.turns > reserved.turns).collect();
        let passes = reservations.iter().all(|reserved| reserved.beside.fits(request));
        if passes {
            reservations.into_iter().for_each(|reserved| reserved.beside = reserved.beside.without(request));
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(turns: usize, rows: usize, source: usize) -> Holding {
        Holding { turns, rows, source }
    }

    /// One request of 6 rows and 40 tokens, while 4 of 8 rows and 60 of 100 tokens are held.
    #[test]
    fn those_pass_who_are_through_or_leave_room() {
        let under_way = [holding(20, 1, 30), holding(5, 1, 20), holding(9, 2, 10)];
        let space = Space { rows: 4, held: 60, most: 100 };
        let large = holding(50, 6, 40);
        assert!(!space.fits(large));
        // after 9 turns 7 rows are free, of which one is left beside it, and 70 tokens are held with it
        let passes = |asked: &[Holding]| {
            let mut reservation = Reservation::new(large, space, &under_way);
            asked
                .iter()
                .map(|request| Reservation::let_pass([&mut reservation].into_iter(), *request))
                .collect::<Vec<_>>()
        };
        assert_eq!(passes(&[holding(9, 4, 40), holding(10, 2, 1), holding(9, 3, 1)]), [true, false, true]);
        assert_eq!(passes(&[holding(99, 1, 30), holding(99, 1, 1), holding(99, 0, 0)]), [true, false, true]);
        assert_eq!(passes(&[holding(99, 1, 31), holding(99, 1, 30)]), [false, true], "the tokens of both");
    }

    #[test]
    fn a_source_alone_has_its_room_when_all_are_through() {
        let space = Space { rows: 7, held: 10, most: 100 };
        let (large, under_way) = (holding(8, 1, 300), [holding(3, 1, 10)]);
        assert!(!space.fits(large));
        let mut reservation = Reservation::new(large, space, &under_way);
        let mut passes = |request| Reservation::let_pass([&mut reservation].into_iter(), request);
        assert!(passes(holding(3, 7, 90)) && !passes(holding(4, 1, 1)));
        assert!(Space { held: 0, ..space }.fits(large));
    }

    /// However many come behind it, a large request has its room by the time that it had when it first waited for some.
    #[test]
    fn a_large_request_is_not_put_off() {
        let mut running: Vec<(usize, Holding)> = vec![(30, holding(0, 3, 9)), (12, holding(0, 5, 9))];
        let large = holding(40, 7, 1);
        for time in 0..=30 {
            running.retain(|(end, _)| *end > time);
            let left = |(end, held): &(usize, Holding)| Holding { turns: end - time, ..*held };
            let mut under_way: Vec<_> = running.iter().map(left).collect();
            let rows = 8 - under_way.iter().map(|held| held.rows).sum::<usize>();
            let mut space = Space { rows, held: 18, most: 1000 };
            if space.fits(large) {
                assert!(time == 30, "not before the first is through");
                return;
            }
            let mut reservation = Reservation::new(large, space, &under_way);
            for turns in [50, 18, 7, 3, 1] {
                let small = holding(turns, 1, 1);
                if space.fits(small) && Reservation::let_pass([&mut reservation].into_iter(), small) {
                    space = space.without(small);
                    under_way.push(small);
                    running.push((time + turns, small));
                }
            }
        }
        panic!("it waits for longer than those that were there before it");
    }
}
