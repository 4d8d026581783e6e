//! Fills stripes with frames, in the order of the segments, as many stripes at a time as memory allows. The worker that completes a
//! stripe also computes its parity and hashes, so that this work is shared by all workers.

use crate::error::{Error, Result};
use crate::format::deal::{Dealer, Place};
use crate::format::frame;
use crate::format::hashes::{BlockSize, SLICE, Value};
use crate::pack::begun_group::BegunGroup;
use crate::pack::capacity::{Closed, Room};
use crate::pack::mark;
use crate::pack::plan::Plan;
use crate::pack::rows_out::{Ending, RowsOut};
use crate::pack::stripe::{Pool, Sink, Stripe};
use crate::stages::filehash::{Ledger, Page, Stretch};
use crate::stages::runs::run_bytes;
use crate::threads::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes of a stripe over all volumes, about: few enough to be in the cache still when its parity is computed and it is written.
const STRIPE: usize = 4 << 20;
/// Bytes of segments that are read, or wait until those before them are sealed, however many workers there are.
const WAITING: u64 = 256 << 20;

/// Turns frames into stripes.
pub struct Striper<'a> {
    n: usize,
    stripe_bytes: usize,
    block: BlockSize,
    window: u64,
    /// After a group that was complete before: the first segment, and the least bytes of its frame.
    resumed: Option<(u64, u64)>,
    first: u64,
    /// Bytes of frames between two marks.
    interval: u64,
    pool: Arc<Pool>,
    dealing: Mutex<Dealing>,
    turn: Condvar,
    rows: RowsOut<'a>,
    room: Option<&'a Room>,
}

/// Where the frames of a part, or what is left of them, begin.
#[derive(Default)]
pub struct Start {
    /// The first segment.
    pub segment: u64,
    /// The first segment of the part.
    pub first: u64,
    /// The group before it in the same part, and the lengths of its data volumes.
    pub after: Option<(u32, Vec<u64>)>,
    /// The group that goes on, if one was begun.
    pub begun: Option<BegunGroup>,
    /// What is known of the hashes of files.
    pub ledger: Ledger,
    /// Groups of the part that are on the drives already.
    pub closed: Closed,
}

struct Dealing {
    dealer: Dealer,
    /// The dealer stands at the end of a group that is complete.
    after_group: bool,
    ledger: Ledger,
    closed: Closed,
    /// The next frame does not fit the drives any more.
    full: bool,
    next: u64,
    waiting: BTreeMap<u64, Sealed>,
    open: VecDeque<Arc<Stripe>>,
    /// Where the next stripe of this group begins.
    reached: u64,
    stripes: u64,
    frames: Vec<u32>,
    marked: Marked,
    stopped: bool,
}

/// What lies before the last mark of the group at hand.
#[derive(Default)]
struct Marked {
    /// How many there were.
    marks: u32,
    /// Frames before it, and bytes of those behind.
    frames: usize,
    bytes: u64,
    /// Hashes of files that were finished before it.
    finished: Vec<(usize, Value)>,
}

/// A frame, and what its segment tells of the hashes of files.
struct Sealed {
    frame: Vec<u8>,
    stretches: Vec<Stretch>,
    /// Bytes of the stream in it.
    plain: u64,
}

struct Copy {
    place: Place,
    frame: Vec<u8>,
    stripes: Vec<Arc<Stripe>>,
}

impl Dealing {
    fn open_until(
        &mut self,
        (group, end): (u32, u64),
        pool: &Arc<Pool>,
        (volumes, bytes): (usize, usize),
    ) -> Result<()> {
        while self.reached < end {
            let columns = pool.take(volumes, bytes)?;
            let stripe = Stripe::new(group, self.reached, self.stripes, columns, pool.clone());
            self.open.push_back(Arc::new(stripe));
            self.reached += bytes as u64;
            self.stripes += 1;
        }
        Ok(())
    }

    /// Stands where a group was interrupted, with what is in the stripes that were open.
    fn go_on(&mut self, plan: &Plan, begun: BegunGroup, (pool, bytes): (&Arc<Pool>, usize)) -> Result<()> {
        let longest = begun.lengths.iter().copied().max().unwrap_or(0);
        self.reached = begun.rows;
        self.open_until((begun.group, longest), pool, (plan.placement.len(), bytes))?;
        for (volume, tail) in begun.tails.iter().enumerate() {
            for (stripe, part) in self.open.iter().zip(tail.chunks(bytes)) {
                stripe.column(volume)[..part.len()].copy_from_slice(part);
                let mut tally = lock(&stripe.tally);
                (tally.assigned, tally.copied) = (tally.assigned + part.len(), tally.copied + part.len());
            }
        }
        self.dealer = Dealer::after(plan.shape(), begun.group, begun.lengths);
        let (marks, frames) = (begun.marks, begun.frames.len());
        self.marked = Marked { marks, frames, bytes: 0, finished: begun.finished };
        self.frames = begun.frames;
        Ok(())
    }
}

impl<'a> Striper<'a> {
    /// For a plan and `workers` workers, as far as there is room.
    pub fn new(
        plan: &Plan,
        workers: usize,
        start: Start,
        room: Option<&'a Room>,
        sink: &'a dyn Sink,
    ) -> Result<Striper<'a>> {
        let n = plan.placement.len();
        let (stripe_bytes, stripes) = stripes(n, plan.longest_frame() as usize, plan.segment_bytes);
        let shortest = |lengths: &Vec<u64>| lengths.iter().copied().min().unwrap_or(0);
        let ended = start.after.as_ref().filter(|_| start.begun.is_none());
        let resumed = ended.map(|(_, lengths)| (start.segment, plan.volume_bytes + 1 - shortest(lengths)));
        let rows = RowsOut::new(plan, start.begun.as_ref(), sink)?;
        let mut dealing = Dealing {
            after_group: ended.is_some(),
            dealer: match start.after {
                Some((group, lengths)) => Dealer::after(plan.shape(), group, lengths),
                None => Dealer::new(plan.shape()),
            },
            ledger: start.ledger,
            closed: start.closed,
            full: false,
            next: start.segment,
            waiting: BTreeMap::new(),
            open: VecDeque::new(),
            reached: plan.block.bytes(),
            stripes: 0,
            frames: Vec::new(),
            marked: Marked::default(),
            stopped: false,
        };
        let pool = Arc::new(Pool::new(stripes));
        if let Some(begun) = start.begun {
            dealing.go_on(plan, begun, (&pool, stripe_bytes))?;
        }
        Ok(Striper {
            n,
            stripe_bytes,
            block: plan.block,
            window: window(workers, plan.segment_bytes),
            resumed,
            first: start.first,
            interval: mark::interval(plan),
            pool,
            dealing: Mutex::new(dealing),
            turn: Condvar::new(),
            rows,
            room,
        })
    }

    /// Waits until segment `segment` is near enough to those that have been placed; false if all has been stopped, or the
    /// drives are full.
    pub fn wait_turn(&self, segment: u64) -> bool {
        let mut dealing = lock(&self.dealing);
        while !dealing.stopped && !dealing.full && segment >= dealing.next + self.window {
            dealing = self.turn.wait(dealing).unwrap_or_else(PoisonError::into_inner);
        }
        !dealing.stopped && !dealing.full
    }

    /// Whether a frame of `bytes` bytes may be that of a segment: the one that ended a group before must still not fit it.
    pub fn accepts(&self, segment: u64, bytes: usize) -> bool {
        self.resumed.is_none_or(|(first, least)| segment != first || bytes as u64 >= least)
    }

    /// Ends all waiting.
    pub fn stop(&self) {
        // The pool first: who waits for it holds the dealing.
        self.pool.stop();
        lock(&self.dealing).stopped = true;
        self.turn.notify_all();
    }

    /// Takes the age file of a segment, with [`frame::HEADER`] bytes free before it, what the segment tells of files, and how many bytes
    /// of the stream are in it.
    pub fn place(&self, segment: u64, mut frame: Vec<u8>, stretches: Vec<Stretch>, plain: u64) -> Result<()> {
        let len = (frame.len() - frame::HEADER) as u32;
        frame[..frame::HEADER].copy_from_slice(&frame::header(segment, len));
        lock(&self.dealing).waiting.insert(segment, Sealed { frame, stretches, plain });
        // One frame at a time: who waits for the pool must hold no frame that others need in order to finish a stripe.
        loop {
            let copy = {
                let mut dealing = lock(&self.dealing);
                let next = dealing.next;
                if !dealing.full && dealing.waiting.get(&next).is_some_and(|s| !self.has_room(&dealing, &s.frame)) {
                    // What was sealed ahead is dropped: it is read again for the next drives.
                    dealing.full = true;
                    dealing.waiting.clear();
                    self.turn.notify_all();
                }
                let goes_on = !dealing.full && !dealing.stopped;
                let Some(sealed) = dealing.waiting.remove(&next).filter(|_| goes_on) else { return Ok(()) };
                dealing.next += 1;
                // Who comes next, before all is stopped, would deal to a group that has ended once more.
                self.deal(&mut dealing, sealed).inspect_err(|_| dealing.stopped = true)?
            };
            self.turn.notify_all();
            self.copy(copy)?;
        }
    }

    /// Ends the last group; returns the first segment that was not placed. Called when nobody places any more.
    pub fn finish(&self) -> Result<u64> {
        let mut dealing = lock(&self.dealing);
        if !dealing.after_group && dealing.dealer.lengths().iter().any(|len| *len > self.block.bytes()) {
            self.close_group(&mut dealing)?;
        }
        Ok(dealing.next)
    }

    fn has_room(&self, dealing: &Dealing, frame: &[u8]) -> bool {
        let Some(room) = self.room else { return true };
        let (mut dealer, mut closed) = (dealing.dealer.clone(), dealing.closed.clone());
        if !dealing.after_group && dealer.ends_group(frame.len() as u32) {
            closed.add(self.block, &self.all_lengths(dealer.lengths()));
        }
        dealer.deal(frame.len() as u32);
        room.fits(&closed, dealer.lengths(), dealing.next + 1 - self.first)
    }

    /// The lengths of all volumes of a group from those of its data volumes.
    fn all_lengths(&self, data: &[u64]) -> Vec<u64> {
        let mut lengths = data.to_vec();
        lengths.resize(self.n, data.iter().copied().max().unwrap_or(0));
        lengths
    }

    fn deal(&self, dealing: &mut Dealing, sealed: Sealed) -> Result<Copy> {
        let frame = sealed.frame;
        let bytes = frame.len() as u32;
        match (dealing.after_group, dealing.dealer.ends_group(bytes)) {
            // Sealed until it is long enough, see `accepts`: if it never is, it is not what ended the group before.
            (true, false) => return Err(not_as_before()),
            (true, true) => dealing.after_group = false,
            (false, true) => self.close_group(dealing)?,
            (false, false) => self.mark_if_due(dealing),
        }
        let place = dealing.dealer.deal(bytes);
        dealing.frames.push(bytes);
        dealing.marked.bytes += u64::from(bytes);
        dealing.ledger.absorb(sealed.stretches);
        let (from, to) = (place.offset, place.offset + u64::from(bytes));
        self.open_until(dealing, place.group, to)?;
        let mut stripes = Vec::new();
        for stripe in &dealing.open {
            let (begin, end) = (stripe.offset, stripe.offset + self.stripe_bytes as u64);
            if from < end && begin < to {
                lock(&stripe.tally).assigned += (to.min(end) - from.max(begin)) as usize;
                stripes.push(stripe.clone());
            }
        }
        // When the last of it is durable, all of it is.
        if let Some(last) = stripes.last() {
            lock(&last.tally).plain += sealed.plain;
        }
        // A stripe that the shortest volume has passed is closed. This frame, which moved the shortest, lies in it, so
        // whoever copies it will find it complete.
        let shortest = dealing.dealer.lengths().iter().copied().min().unwrap_or(0);
        while let Some(first) = dealing.open.front() {
            if shortest < first.offset + self.stripe_bytes as u64 {
                break;
            }
            lock(&first.tally).used = Some(vec![self.stripe_bytes; self.n]);
            dealing.open.pop_front();
        }
        Ok(Copy { place, frame, stripes })
    }

    fn open_until(&self, dealing: &mut Dealing, group: u32, end: u64) -> Result<()> {
        dealing.open_until((group, end), &self.pool, (self.n, self.stripe_bytes))
    }

    /// Sets a mark before the next frame, if the last one is far enough behind. What lies before it has passed when the stripes have
    /// that are open now.
    fn mark_if_due(&self, dealing: &mut Dealing) {
        let (Some(first), Some(last)) = (dealing.open.front(), dealing.open.back()) else { return };
        if dealing.marked.bytes < self.interval {
            return;
        }
        let (lengths, marked) = (dealing.dealer.lengths().to_vec(), &mut dealing.marked);
        let (frames, page) = (dealing.frames[marked.frames..].to_vec(), dealing.ledger.turn());
        marked.finished.extend(&page.finished);
        let at = (dealing.dealer.group(), marked.marks);
        let set = Arc::new(mark::Set::new(at, frames, page, first.offset, lengths));
        for stripe in &dealing.open {
            let inside = |len: &u64| len.checked_sub(stripe.offset).filter(|len| *len < self.stripe_bytes as u64);
            let edges = set.lengths.iter().enumerate().filter_map(|(v, len)| Some((v, inside(len)? as usize)));
            lock(&stripe.tally).edges.extend(edges.map(|(v, bytes)| (set.clone(), v, bytes)));
        }
        lock(&last.tally).marks.push(set);
        (marked.marks, marked.frames, marked.bytes) = (marked.marks + 1, dealing.frames.len(), 0);
    }

    /// Closes the stripes that are open at the end of a group.
    fn close_group(&self, dealing: &mut Dealing) -> Result<()> {
        let lengths = self.all_lengths(dealing.dealer.lengths());
        dealing.closed.add(self.block, &lengths);
        let group = dealing.dealer.group();
        let closed = std::mem::take(&mut dealing.open);
        for stripe in &closed {
            let used = |len: &u64| len.saturating_sub(stripe.offset).min(self.stripe_bytes as u64) as usize;
            lock(&stripe.tally).used = Some(lengths.iter().map(used).collect());
        }
        dealing.reached = self.block.bytes();
        let (frames, marked) = (std::mem::take(&mut dealing.frames), std::mem::take(&mut dealing.marked));
        let (rest, mut finished) = (dealing.ledger.turn(), marked.finished);
        finished.extend(rest.finished);
        let page = Page { finished, open: rest.open };
        self.rows.end_group(Ending { before: dealing.stripes, group, lengths, frames, page })?;
        // At once: the next group may have to wait for the memory that writers hold until this one has ended.
        closed.iter().try_for_each(|stripe| self.rows.finish_if_whole(stripe))
    }

    fn copy(&self, copy: Copy) -> Result<()> {
        let (from, to) = (copy.place.offset, copy.place.offset + u64::from(copy.place.bytes));
        for stripe in copy.stripes {
            let (begin, end) = (from.max(stripe.offset), to.min(stripe.offset + self.stripe_bytes as u64));
            let source = &copy.frame[(begin - from) as usize..(end - from) as usize];
            let at = (begin - stripe.offset) as usize;
            stripe.column(copy.place.volume.into())[at..at + source.len()].copy_from_slice(source);
            lock(&stripe.tally).copied += source.len();
            self.rows.finish_if_whole(&stripe)?;
        }
        Ok(())
    }
}

/// How many segments may be underway: enough that no worker waits for one that takes longer.
fn window(workers: usize, segment_bytes: u32) -> u64 {
    let most = (WAITING / u64::from(segment_bytes)).max(workers as u64);
    (3 * workers as u64).min(most)
}

/// Bytes of a column of a stripe, and how many stripes there may be in memory.
fn stripes(volumes: usize, longest_frame: usize, segment_bytes: u32) -> (usize, usize) {
    let bytes = SLICE.within((STRIPE / volumes) as u64) as usize * SLICE.size();
    // The shortest and the longest volume of a group are never further apart than a frame.
    let open = longest_frame.div_ceil(bytes) + 2;
    // What writers hold until they have a run of each volume, and then a little, so that nobody waits while they write.
    let gathered = run_bytes(volumes, segment_bytes).div_ceil(bytes as u64) as usize + 1;
    (bytes, open + 3 + gathered + gathered / 4)
}

fn not_as_before() -> Error {
    Error::source(
        "the source does not seal to what it did before the interruption",
        "something changed it without changing its time, or another version of ckvault began this export: begin anew with --discard",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::begun_group::stretch;
    use crate::pack::gathered::Gathered;
    use crate::pack::mark::Passed;
    use crate::pack::sizes;
    use crate::pack::stripe::{GroupEnd, Order};
    use crate::stages::compress::Compression;
    use crate::stages::parity::Codec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const BLOCK: BlockSize = BlockSize::SMALLEST;

    /// Keeps volumes in memory, and holds stripes as long as the writer of a drive does.
    struct Memory {
        held: Mutex<Gathered>,
        volumes: Mutex<HashMap<(u32, usize), Vec<u8>>>,
        ends: Mutex<Vec<Arc<GroupEnd>>>,
        marks: Mutex<Vec<Arc<Passed>>>,
        n: usize,
        block: BlockSize,
        run: u64,
    }

    impl Memory {
        fn of(plan: &Plan) -> Memory {
            let run = run_bytes(plan.placement.len(), plan.segment_bytes);
            Memory {
                held: Mutex::new(Gathered::new(plan.block, run)),
                volumes: Mutex::default(),
                ends: Mutex::default(),
                marks: Mutex::default(),
                n: plan.placement.len(),
                block: plan.block,
                run,
            }
        }
    }

    impl Sink for Memory {
        fn order(&self, order: Order) -> Result<()> {
            let mut volumes = lock(&self.volumes);
            match order {
                Order::Begin(group) => {
                    for v in 0..self.n {
                        volumes.insert((group, v), self.header(group, v));
                    }
                }
                Order::Rows(stripe) => {
                    for v in 0..self.n {
                        let volume = volumes.get_mut(&(stripe.group, v)).unwrap();
                        if stripe.sequence == 0 {
                            // What goes on behind a mark takes the place of what was there.
                            volume.truncate(stripe.offset as usize);
                        }
                        assert!(volume.len() as u64 <= stripe.offset);
                        stripe.with_column(v, |bytes| volume.extend_from_slice(bytes));
                    }
                    let mut held = lock(&self.held);
                    if let Some(end) = held.take(stripe, self.n) {
                        held.wrote(end);
                    }
                }
                Order::End(end) => {
                    *lock(&self.held) = Gathered::new(self.block, self.run);
                    lock(&self.ends).push(end);
                }
                Order::Mark(passed) => lock(&self.marks).push(passed),
                Order::Known(_) | Order::GoOn(_) => panic!("nothing is known here"),
            }
            Ok(())
        }

        fn header(&self, group: u32, volume: usize) -> Vec<u8> {
            let mut page = vec![0; self.block.size()];
            page[..2].copy_from_slice(&[group as u8, volume as u8]);
            page
        }
    }

    fn plan(k: u16, m: u16, volume_bytes: u64) -> Plan {
        let placement = vec![0; usize::from(k + m)];
        Plan {
            k,
            m,
            volume_bytes,
            block: BLOCK,
            segment_bytes: 1 << 16,
            compression: Compression::Auto,
            placement,
            needed: vec![],
            most_groups: 0,
            in_parts: false,
        }
    }

    fn frame(segment: u64, len: usize) -> Vec<u8> {
        (0..len + frame::HEADER).map(|i| (i as u64 * 31 + segment * 7) as u8).collect()
    }

    fn run(plan: &Plan, lens: &[usize], workers: usize) -> (Memory, Vec<u32>) {
        run_from(Start::default(), Memory::of(plan), plan, lens, workers)
    }

    fn run_from(start: Start, memory: Memory, plan: &Plan, lens: &[usize], workers: usize) -> (Memory, Vec<u32>) {
        let frames = {
            let next = std::sync::atomic::AtomicUsize::new(start.segment as usize);
            let striper = Striper::new(plan, workers, start, None, &memory).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| {
                        loop {
                            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            if n >= lens.len() {
                                break;
                            }
                            assert!(striper.wait_turn(n as u64));
                            let file = Stretch::new(n, 1, 0, &[n as u8]);
                            striper.place(n as u64, frame(n as u64, lens[n]), vec![file], 1).unwrap();
                        }
                    });
                }
            });
            assert_eq!(striper.finish().unwrap(), lens.len() as u64);
            lock(&memory.ends).iter().flat_map(|end| end.frames.clone()).collect()
        };
        (memory, frames)
    }

    #[test]
    fn stripes_fit_into_memory_however_many_volumes_there_are() {
        for volumes in 1..=255 {
            let (bytes, stripes) = stripes(volumes, (1 << 20) + (40 << 10), 1 << 20);
            assert!(volumes * bytes * stripes <= 450 << 20, "{volumes}: {stripes} stripes of {bytes}");
        }
        // No export takes longer segments where there are more volumes.
        for segment in [2 << 20, 4 << 20, 8 << 20] {
            for volumes in 1..=sizes::LONG_SEGMENTS as usize / segment {
                let (bytes, stripes) = stripes(volumes, segment + (40 << 10), segment as u32);
                assert!(volumes * bytes * stripes <= 320 << 20, "{volumes}: {stripes} stripes of {bytes}");
            }
        }
    }

    #[test]
    fn segments_underway_are_bounded_by_their_bytes() {
        assert_eq!([1, 2, 16].map(|workers| window(workers, 8 << 20)), [3, 6, 32]);
        assert_eq!([2, 64, 128].map(|workers| window(workers, 1 << 20)), [6, 192, 256]);
        // Each has one at least.
        assert_eq!(window(40, 8 << 20), 40);
    }

    #[test]
    fn a_group_that_ends_lets_go_of_the_memory_that_the_next_one_waits_for() {
        let wide = Plan { segment_bytes: 1 << 20, ..plan(2, 200, 1_116_000) };
        check(&wide, &[9_984, 9_984, 1_039_984, 1_048_984], 1);
    }

    fn check(plan: &Plan, lens: &[usize], workers: usize) {
        let (memory, frames) = run(plan, lens, workers);
        is_sound(plan, lens, &memory, &frames);
    }

    fn is_sound(plan: &Plan, lens: &[usize], memory: &Memory, frames: &[u32]) {
        let volumes = lock(&memory.volumes);
        let mut dealer = Dealer::new(plan.shape());
        for (n, bytes) in frames.iter().enumerate() {
            let place = dealer.deal(*bytes);
            let volume = &volumes[&(place.group, usize::from(place.volume))];
            let stored = &volume[place.offset as usize..][..*bytes as usize];
            assert_eq!(frame::payload(stored, n as u64).unwrap(), &frame(n as u64, lens[n])[frame::HEADER..]);
        }
        assert_eq!(frames.len(), lens.len());
        for end in lock(&memory.ends).iter() {
            assert_eq!(end.frames.len(), end.page.finished.len(), "a file in each");
            for v in 0..memory.n {
                let bytes = &volumes[&(end.group, v)];
                assert_eq!(bytes.len() as u64, end.lengths[v]);
                assert_eq!(
                    &plan.block.spans_and_root(&end.values[v], end.lengths[v]).1,
                    blake3::hash(bytes).as_bytes()
                );
            }
            check_parity(plan, &volumes, end);
        }
    }

    fn check_parity(plan: &Plan, volumes: &HashMap<(u32, usize), Vec<u8>>, end: &GroupEnd) {
        let (k, longest) = (usize::from(plan.k), *end.lengths.iter().max().unwrap() as usize);
        let header = plan.block.size();
        let mut padded: Vec<Vec<u8>> =
            (0..end.lengths.len()).map(|v| volumes[&(end.group, v)][header..].to_vec()).collect();
        padded.iter_mut().for_each(|v| v.resize(longest - header, 0));
        let (data, parity) = padded.split_at(k);
        let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        let mut expected = vec![vec![0; longest - header]; parity.len()];
        let mut slots: Vec<&mut [u8]> = expected.iter_mut().map(|p| &mut p[..]).collect();
        Codec::new(plan.k, plan.m).unwrap().encode(&data, &mut slots).unwrap();
        assert!(parity == expected);
    }

    /// What a group is at its n-th mark, as it is read from the volumes.
    fn begun_at(plan: &Plan, marks: &[Arc<Passed>], volumes: &HashMap<(u32, usize), Vec<u8>>) -> Option<BegunGroup> {
        let group = marks[0].at.0;
        let mut begun = BegunGroup::new(group, plan);
        for passed in marks {
            let lengths = begun.lengths_at(&passed.mark, plan.shape())?;
            let stretch = |v: usize| {
                let read = |buffer: &mut [u8], at: u64| {
                    let there = &volumes[&(group, v)][at as usize..];
                    let len = buffer.len().min(there.len());
                    buffer[..len].copy_from_slice(&there[..len]);
                    Ok(len)
                };
                let (rows, end) = (passed.mark.rows, lengths.get(v).copied().unwrap_or(passed.mark.rows));
                stretch(&read, (begun.rows, rows, end), &mut |_, _| Ok(())).unwrap()
            };
            let read = (0..plan.placement.len()).map(stretch).collect::<Option<_>>()?;
            begun.advance(&passed.mark, lengths, read).then_some(())?;
        }
        Some(begun)
    }

    /// Goes on from each mark of the last group, with other bytes in its frames and lengths that differ a little.
    fn goes_on_from_any_mark(plan: &Plan, lens: &[usize], workers: usize) {
        let (memory, frames) = run(plan, lens, workers);
        let (marks, ends) = (lock(&memory.marks).clone(), lock(&memory.ends).clone());
        let Some((last, before)) = ends.split_last() else { panic!("no group") };
        let first: usize = before.iter().map(|end| end.frames.len()).sum();
        let marks: Vec<_> = marks.into_iter().filter(|m| m.at.0 == last.group).collect();
        assert!(marks.len() > 2 && marks.iter().zip(0..).all(|(m, i)| m.at.1 == i));
        for count in (1..=marks.len()).filter(|count| *count < 3 || count % 5 == 0 || *count == marks.len()) {
            let mut volumes = lock(&memory.volumes).clone();
            let begun = begun_at(plan, &marks[..count], &volumes).unwrap();
            let mut lens = lens.to_vec();
            let behind = lens[first + begun.frames.len()..].iter_mut();
            behind.for_each(|len| *len = if count % 2 == 0 { *len + 1 } else { *len - 1 });
            let again = Memory::of(plan);
            *lock(&again.volumes) = volumes.clone();
            let segment = (first + begun.frames.len()) as u64;
            let after = before.last().map(|end| (end.group, end.lengths[..plan.k.into()].to_vec()));
            let (ledger, behind) = (begun.ledger(), begun.lengths.clone());
            let start = Start { segment, begun: Some(begun.clone()), after, ledger, ..Start::default() };
            let (again, behind_mark) = run_from(start, again, plan, &lens, workers);
            let all = [&frames[..first], &behind_mark].concat();
            is_sound(plan, &lens, &again, &all);
            // Nothing before the mark counts if one byte of it is another.
            for (v, len) in behind.iter().enumerate().filter(|(_, len)| **len > begun.rows) {
                volumes.get_mut(&(last.group, v)).unwrap()[*len as usize - 1] ^= 1;
                assert!(begun_at(plan, &marks[..count], &volumes).is_none());
                volumes.get_mut(&(last.group, v)).unwrap()[*len as usize - 1] ^= 1;
                volumes.get_mut(&(last.group, v)).unwrap()[*len as usize..].fill(0);
            }
            assert!(begun_at(plan, &marks[..count], &volumes).is_some(), "what lies behind it does not matter");
            if begun.rows > plan.block.bytes() {
                let parity = volumes.get_mut(&(last.group, plan.placement.len() - 1)).unwrap();
                parity[begun.rows as usize - 1] ^= 1;
                assert!(begun_at(plan, &marks[..count], &volumes).is_none());
            }
        }
    }

    #[test]
    fn an_interrupted_group_goes_on_from_any_mark() {
        let lens: Vec<usize> = (0..400).map(|i| 30_000 + (i * 7919) % 35_000).collect();
        goes_on_from_any_mark(&plan(3, 2, 9 << 20), &lens[..300], 3);
        goes_on_from_any_mark(&plan(16, 2, 2 << 20), &lens, 2);
        goes_on_from_any_mark(&plan(1, 1, 20 << 20), &lens, 1);
        let long = Plan { segment_bytes: 1 << 20, ..plan(4, 2, 30 << 20) };
        let lens: Vec<usize> = (0..100).map(|i| 1_000_000 + (i * 7919) % 40_000).collect();
        goes_on_from_any_mark(&long, &lens, 2);
        goes_on_from_any_mark(&Plan { block: BlockSize::LARGEST, ..long }, &lens, 2);
    }

    /// Sealing the same bytes again gives another length: a frame that would have fitted the group before is no successor.
    #[test]
    fn the_first_frame_after_a_complete_group_must_not_fit_it() {
        let plan = plan(2, 1, 300_000);
        let lengths = vec![250_000, 240_000];
        for (len, accepted) in [(59_000, false), (60_000, false), (60_001, true)] {
            let memory = Memory::of(&plan);
            let start = Start { segment: 7, after: Some((4, lengths.clone())), ..Start::default() };
            let striper = Striper::new(&plan, 1, start, None, &memory).unwrap();
            assert_eq!(striper.accepts(7, len), accepted, "{len}");
            assert!(striper.accepts(8, len));
            assert_eq!(striper.place(7, frame(7, len - frame::HEADER), Vec::new(), 1).is_ok(), accepted, "{len}");
        }
    }

    /// A drive that has ended takes no orders; the others would be told of the end of a group twice.
    #[test]
    fn a_group_whose_end_nobody_takes_does_not_end_again() {
        struct Refusing(Mutex<u32>);
        impl Sink for Refusing {
            fn order(&self, order: Order) -> Result<()> {
                if let Order::End(_) = order {
                    *lock(&self.0) += 1;
                    return Err(Error::Interrupted);
                }
                Ok(())
            }
            fn header(&self, _: u32, _: usize) -> Vec<u8> {
                vec![0; BLOCK.size()]
            }
        }
        let sink = Refusing(Mutex::default());
        let striper = Striper::new(&plan(2, 1, 300_000), 1, Start::default(), None, &sink).unwrap();
        let placed: Vec<bool> = (0..12).map(|n| striper.place(n, frame(n, 60_000), Vec::new(), 1).is_ok()).collect();
        assert_eq!((placed.iter().filter(|placed| !**placed).count(), *lock(&sink.0)), (1, 1), "{placed:?}");
    }

    /// One late segment holds back all others; that many frames must not need more stripes than there are.
    #[test]
    fn a_late_segment_with_far_more_parity_than_data() {
        let plan = Plan { segment_bytes: 1 << 20, ..plan(1, 127, 8 << 20) };
        let memory = Memory::of(&plan);
        let striper = Striper::new(&plan, 2, Start::default(), None, &memory).unwrap();
        for n in (0..6u64).rev() {
            striper.place(n, frame(n, 1_040_000), Vec::new(), 1).unwrap();
        }
        assert_eq!(striper.finish().unwrap(), 6);
    }

    #[test]
    fn long_segments_and_short_runs() {
        let lens: Vec<usize> = (0..14).map(|i| 8_000_000 + (i * 7919) % 400_000).collect();
        check(&Plan { segment_bytes: 8 << 20, ..plan(5, 13, 20 << 20) }, &lens, 3);
    }

    #[test]
    fn one_small_frame() {
        check(&plan(16, 2, 2 << 20), &[100], 1);
    }

    #[test]
    fn several_groups_with_many_workers() {
        let lens: Vec<usize> = (0..400).map(|i| 1000 + (i * 7919) % 65_000).collect();
        check(&plan(3, 2, 2 << 20), &lens, 4);
    }

    /// As on a large machine: many frames wait for one that is late.
    #[test]
    fn far_more_workers_than_stripes() {
        let lens: Vec<usize> = (0..600).map(|i| 1000 + (i * 7919) % 65_000).collect();
        check(&plan(2, 100, 2 << 20), &lens, 48);
        check(&plan(16, 2, 2 << 20), &lens, 48);
    }

    #[test]
    fn stripes_of_one_row() {
        let lens: Vec<usize> = (0..300).map(|i| 1000 + (i * 7919) % 65_000).collect();
        check(&plan(250, 5, 2 << 20), &lens, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_frames_at_any_shape(k in 1u16..20, m in 1u16..5, workers in 1usize..4,
                                   block in 16u32..=20, lens in prop::collection::vec(1usize..65_000, 1..200)) {
            let block = BlockSize::try_from(1 << block).unwrap();
            check(&Plan { block, ..plan(k, m, 2 << 20) }, &lens, workers);
        }
    }
}
