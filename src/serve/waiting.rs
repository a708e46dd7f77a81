//! Requests that were taken from the queue and are in no batch yet.

use super::joining::Admitted;
use super::order::{Turn, Turns};
use super::places::Place;
use super::reservation::{Holding, Reservation, Space};
use super::source_cache::{Key, Keys};
use super::{Adapter, Command, Error, Queued, Result, scoring};
use crate::delta::Single;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// One of them.
struct Waiting {
    command: Command,
    /// Its place in the queue, which is free when it is dropped.
    _place: Place,
    /// When it goes.
    turn: Turn,
    keys: Keys,
    /// Decoder positions that scoring takes.
    positions: usize,
    adapter: Slot,
}

/// Where a request's adapter is.
enum Slot {
    /// In memory; none for the bare backbone.
    Ready(Option<Arc<Single>>),
    /// Asked of the loader; so many bytes.
    Loading(usize),
    /// To be had in its turn; so many bytes.
    Wanted(usize),
}

impl Waiting {
    /// Its adapter, if it has one, and the bytes.
    fn adapter(&self) -> Option<(&Arc<Adapter>, usize)> {
        let bytes = match &self.adapter {
            Slot::Ready(single) => single.as_ref()?.bytes(),
            Slot::Loading(bytes) | Slot::Wanted(bytes) => *bytes,
        };
        Some((self.command.adapter()?, bytes))
    }
}

/// What a batch has room for.
#[derive(Debug)]
pub(super) struct Room<'a> {
    /// Requests that join at once.
    pub(super) requests: usize,
    /// Rows of the decoder that are free, source tokens whose keys and values are held, and how many may be.
    pub(super) space: Space,
    /// Who holds the rest, by the adapters' generations.
    pub(super) under_way: Vec<(Option<&'a str>, Holding)>,
    /// Rows that requests of one adapter may have, but for a request that is its adapter's only one.
    pub(super) share: usize,
    /// Source tokens of an encoder pass, padding included, but for a source that is alone.
    pub(super) encoded: usize,
    /// Source tokens beyond which a request is long: it joins alone, as it takes many turns.
    pub(super) short: usize,
    /// Long ones that may still join.
    pub(super) long: usize,
}

/// All of them, in the order in which they came.
#[derive(Default)]
pub(super) struct Line {
    waiting: Vec<Waiting>,
    turns: Turns,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|waiting| waiting.command.deadline()).min()
    }

    /// Takes in a request whose adapter, if it has one, is here or is to be loaded.
    pub(super) fn come(&mut self, queued: Queued, resident: Option<Arc<Single>>) {
        let Queued { command, place } = queued;
        let adapter = match command.adapter() {
            Some(adapter) if resident.is_none() => Slot::Wanted(adapter.structure.parameters() * size_of::<f32>()),
            _ => Slot::Ready(resident),
        };
        let keys = Keys::new(command.ids(), command.adapter().map(|adapter| &**adapter));
        let (positions, turn) = (command.positions(), self.turns.come(command.flow(), command.tokens()));
        self.waiting.push(Waiting { command, _place: place, turn, keys, positions, adapter });
    }

    /// Lets those go who wait no longer: their client left, or their time is over.
    pub(super) fn give_up(&mut self, now: Instant) {
        // one whose client left hears nothing of it
        self.leave(&Error::TimedOut, |waiting| waiting.command.is_over(now));
    }

    /// Answers some with an error, as if they had never come.
    fn leave(&mut self, error: &Error, leaves: impl FnMut(&mut Waiting) -> bool) {
        // the last ones first: that changes no turn of those that are still to leave
        for Waiting { command, turn, .. } in self.waiting.extract_if(.., leaves).collect::<Vec<_>>().into_iter().rev() {
            let flow = command.flow();
            let same = self.waiting.iter_mut().filter(|other| other.command.flow() == flow);
            self.turns.leave(flow, command.tokens(), turn, same.map(|other| &mut other.turn));
            command.fail(error.clone());
        }
    }

    /// Answers all of them with an error.
    pub(super) fn fail(&mut self, error: &Error) {
        self.waiting.drain(..).for_each(|waiting| waiting.command.fail(error.clone()));
    }

    /// The adapters to load now. Those of the first requests, in the order of the turns, are held or loaded as far as `limit` bytes
    /// go, and one in any case; whoever comes behind lets its own go, so that none who asks much or often keeps another one out.
    /// `resident` gives those that are in memory; those in `loading` come, and the new ones are put there.
    pub(super) fn wanted(
        &mut self,
        mut limit: usize,
        mut resident: impl FnMut(&String) -> Option<Arc<Single>>,
        loading: &mut HashSet<String>,
    ) -> Vec<Arc<Adapter>> {
        if !self.waiting.iter().any(|waiting| matches!(waiting.adapter, Slot::Wanted(_))) {
            return Vec::new();
        }
        let (mut held, mut sum, mut wanted) = (HashSet::new(), 0, Vec::new());
        for waiting in self.waiting.iter().filter(|waiting| matches!(waiting.adapter, Slot::Loading(_))) {
            // what is being read comes in any case
            let Some((adapter, bytes)) = waiting.adapter() else { continue };
            sum += if held.insert(adapter.generation.clone()) { bytes } else { 0 };
        }
        for at in self.in_turn() {
            let waiting = &mut self.waiting[at];
            let Some((adapter, bytes)) = waiting.adapter() else { continue };
            if !held.contains(&adapter.generation) {
                if sum > 0 && sum + bytes > limit {
                    limit = 0; // none behind it goes first
                    waiting.adapter = Slot::Wanted(bytes);
                    continue;
                }
                sum += bytes;
                held.insert(adapter.generation.clone());
            }
            if matches!(waiting.adapter, Slot::Wanted(_)) {
                let in_memory = resident(&adapter.generation);
                if in_memory.is_none() && loading.insert(adapter.generation.clone()) {
                    wanted.push(Arc::clone(adapter));
                }
                waiting.adapter = in_memory.map_or(Slot::Loading(bytes), |single| Slot::Ready(Some(single)));
            }
        }
        wanted
    }

    /// Gives an adapter, or the error of reading it, to the requests that wait for it.
    pub(super) fn arrived(&mut self, generation: &str, single: &Result<Arc<Single>>) {
        let waits = |waiting: &mut Waiting| {
            matches!(waiting.adapter, Slot::Loading(_)) && waiting.command.flow() == Some(generation)
        };
        match single {
            Ok(single) => {
                for waiting in &mut self.waiting {
                    if waits(waiting) {
                        waiting.adapter = Slot::Ready(Some(Arc::clone(single)));
                    }
                }
            }
            Err(error) => self.leave(error, waits),
        }
    }

    /// Those that join now, in the order of their [`Turns`]. One whose adapter is not there yet is passed over and keeps its place;
    /// so is the first one that lacks rows or source tokens, behind which those go first that its [`Reservation`] lets pass, and the
    /// first of an adapter that has its share of the rows, which has a reservation among that adapter's; the first long one then keeps
    /// a place among the long ones too. Where the encoder's pass has no room for the next one, none behind it goes first. `knows` tells
    /// whether a source's keys and values are there: they need no computing then, but are held as long as somebody attends to them,
    /// whatever becomes of the cache.
    pub(super) fn admit(&mut self, room: Room<'_>, knows: impl Fn(&Keys) -> bool) -> Vec<Admitted> {
        if self.waiting.is_empty() {
            self.turns.reset();
            return Vec::new();
        }
        let Room { mut space, mut under_way, .. } = room;
        // places among the long ones that those who wait for rows keep: one, so that not all of them stand empty
        let mut kept = 0;
        let mut rows_of: HashMap<Option<&str>, usize> = HashMap::new();
        under_way.iter().for_each(|(flow, holding)| *rows_of.entry(*flow).or_default() += holding.rows);
        let mut reserved: Option<Reservation> = None;
        let mut reserved_of: HashMap<Option<&str>, Reservation> = HashMap::new();
        let (mut rows, mut width, mut positions, mut sources) = (0, 0, 0, 0);
        let mut memories: Vec<&Key> = Vec::new();
        let mut joins = vec![false; self.waiting.len()];
        let flows = self.waiting.iter().map(|waiting| waiting.command.flow()).collect::<HashSet<_>>().len();
        for at in self.in_turn() {
            let Waiting { command, keys, positions: own, adapter, turn, .. } = &self.waiting[at];
            let (needed, flow) = (command.rows(), command.flow());
            if !matches!(adapter, Slot::Ready(_)) {
                continue;
            }
            let (tokens, is_new) = (command.ids().len(), !memories.contains(&&keys.memory));
            let computes = is_new && !knows(keys);
            let (source, encoded) = (if is_new { tokens } else { 0 }, if computes { tokens } else { 0 });
            let is_long = encoded > room.short || *own > scoring::POSITIONS;
            if is_long && room.long <= kept {
                continue;
            }
            let holding = Holding { turns: command.turns(room.short, *own), rows: needed, source };
            let its_rows = rows_of.get(&flow).copied().unwrap_or(0);
            let of_adapter = Space::of_rows(room.share.saturating_sub(its_rows));
            if its_rows > 0 && !of_adapter.fits(holding) {
                let its = under_way.iter().filter(|(of, _)| *of == flow).map(|(_, holding)| holding);
                reserved_of.entry(flow).or_insert_with(|| {
                    kept = kept.max(usize::from(is_long));
                    Reservation::new(holding, of_adapter, its)
                });
                continue;
            }
            if !space.fits(holding) {
                let all = under_way.iter().map(|(_, holding)| holding);
                reserved.get_or_insert_with(|| {
                    kept = kept.max(usize::from(is_long));
                    Reservation::new(holding, space, all)
                });
                continue;
            }
            let (wider, computed) = (width.max(encoded), sources + usize::from(computes));
            // the decoder's part is limited as well, so that rows under way are not held up for long
            let scored = positions + own;
            let full = rows == room.requests || computed * wider > room.encoded || scored > scoring::POSITIONS;
            if rows > 0 && (full || is_long) {
                break;
            }
            let waits_for = [reserved.as_mut(), reserved_of.get_mut(&flow)].into_iter().flatten();
            if !Reservation::let_pass(waits_for, holding) {
                continue;
            }
            memories.extend(is_new.then_some(&keys.memory));
            (rows, width, positions, sources) = (rows + 1, wider, scored, computed);
            space = space.without(holding);
            under_way.push((flow, holding));
            *rows_of.entry(flow).or_default() += needed;
            joins[at] = true;
            self.turns.taken(*turn, command.tokens(), flows);
            if is_long {
                break;
            }
        }
        let mut joins = joins.into_iter();
        let joining = self.waiting.extract_if(.., |_| joins.next() == Some(true));
        let admitted = joining.map(|Waiting { command, keys, adapter, positions, .. }| {
            let Slot::Ready(adapter) = adapter else { unreachable!("only those whose adapter is there join") };
            Admitted { command, keys, adapter, positions }
        });
        admitted.collect()
    }

    /// How many adapters shared the engine of late, as [`Turns::sharers`].
    pub(super) fn sharers(&self) -> usize {
        self.turns.sharers()
    }

    /// The places of the requests in the order of their turns; of equals the one that came first is first.
    fn in_turn(&self) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..self.waiting.len()).collect();
        turns.sort_by_key(|at| self.waiting[*at].turn);
        turns
    }
}
