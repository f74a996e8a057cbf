//! The machine by hand, and against a model client over a network that drops,
//! repeats and reorders.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A transfer and the time it lives in.
struct Bench {
    now: Instant,
    transfer: Transfer,
}

impl Bench {
    /// A file of `blocks` full blocks of 512 octets (and the empty last one).
    fn new(blocks: usize, asked: Asked) -> Self {
        let content = Bytes::from(vec![7; blocks * 512]);
        let now = Instant::now();
        let grant = Grant::new(&asked, Mode::Octet, content.len(), &Ceiling::default());
        Self { now, transfer: Transfer::start(now, content, Mode::Octet, grant) }
    }

    /// With a granted window, up to the first window of DATA.
    fn windowed(blocks: usize, window: u16) -> Self {
        let mut bench = Self::new(blocks, Asked { windowsize: Some(window), ..Asked::default() });
        assert_eq!(bench.sent(), [None]);
        assert_eq!(bench.ack(0), (1..=window).map(Some).collect::<Vec<_>>());
        bench
    }

    /// What was sent since the last look: block numbers, `None` for an OACK.
    fn sent(&mut self) -> Vec<Option<u16>> {
        let number = |datagram| match datagram {
            Datagram::Control(_) => None,
            Datagram::Data { block, .. } => Some(block),
        };
        self.transfer.outbox().drain(..).map(number).collect()
    }

    /// An ACK a round trip of 10 ms after what came before.
    fn ack(&mut self, block: u16) -> Vec<Option<u16>> {
        self.ack_after(10 * MS, block)
    }

    fn ack_after(&mut self, wait: Duration, block: u16) -> Vec<Option<u16>> {
        self.now += wait;
        self.transfer.on_packet(self.now, &Inbound::Ack(block));
        self.sent()
    }

    fn error(&mut self, code: u16) -> Option<Ending> {
        self.transfer.on_packet(self.now, &Inbound::Error { code, text: "no".into() });
        assert_eq!(self.sent(), []);
        self.transfer.ending().cloned()
    }

    /// Lets the deadline pass; how long that took, and what was sent.
    fn wait(&mut self) -> (Duration, Vec<Option<u16>>) {
        let waited = self.transfer.deadline() - self.now;
        self.now += waited;
        self.transfer.on_deadline(self.now);
        (waited, self.sent())
    }
}

#[test]
fn blocks_leave_one_by_one_each_after_its_ack_rfc1350_2() {
    let mut bench = Bench::new(1, Asked::default());
    assert_eq!(bench.sent(), [Some(1)]);
    assert_eq!(bench.ack(1), [Some(2)]);
    assert_eq!(bench.ack(2), []);
    assert_eq!(bench.transfer.ending(), Some(&Ending::Finished));
    assert_eq!(bench.transfer.acknowledged(), 512);
}

#[test]
fn no_data_before_the_oack_is_acknowledged_rfc2347() {
    let mut bench = Bench::new(3, Asked { blksize: Some(512), ..Asked::default() });
    assert_eq!(bench.sent(), [None]);
    assert_eq!(bench.ack(1), [], "not an ACK of the OACK");
    assert_eq!(bench.wait().1, [None], "the OACK again");
    assert_eq!(bench.ack(0), [Some(1)]);
}

#[test]
fn a_duplicate_ack_never_brings_a_second_copy_rfc1123_4_2_3_1() {
    let mut bench = Bench::new(9, Asked::default());
    bench.sent();
    assert_eq!(bench.ack(1), [Some(2)]);
    for _ in 0..5 {
        assert_eq!(bench.ack_after(30 * MS, 1), []);
    }
    assert_eq!(bench.ack(2), [Some(3)]);
}

#[test]
fn retransmission_gaps_grow_and_end_within_ten_and_a_minute_rfc1123_4_2_3_2() {
    let fresh = Bench::new(3, Asked::default());
    let mut proven = Bench::new(3, Asked::default());
    proven.ack(1);
    let timeout = Some(3);
    let mut fixed = Bench::new(3, Asked { timeout, ..Asked::default() });
    fixed.ack(0);
    for mut bench in [fresh, proven, fixed] {
        bench.sent();
        let begun = bench.now;
        let mut gaps = Vec::new();
        let last = loop {
            let (waited, sent) = bench.wait();
            if sent.is_empty() {
                break waited;
            }
            assert_eq!(sent.len(), 1, "the same block");
            gaps.push(waited);
        };
        assert!(gaps.is_sorted_by(|a, b| a < b), "{gaps:?}");
        assert!((2..=10).contains(&gaps.len()), "{gaps:?} then {last:?}");
        assert!(bench.now - begun <= Duration::from_secs(60));
        assert!(matches!(bench.transfer.ending(), Some(Ending::Failed(Reason::Silent { .. }))));
    }
}

#[test]
fn an_acknowledged_timeout_is_obeyed_rfc2349() {
    for seconds in [1, 3, 20] {
        let timeout = Some(seconds);
        let mut bench = Bench::new(3, Asked { timeout, ..Asked::default() });
        bench.sent();
        assert_eq!(bench.ack(0), [Some(1)]);
        assert_eq!(bench.wait(), (Duration::from_secs(seconds.into()), vec![Some(1)]));
    }
}

#[test]
fn a_timeout_too_long_to_retransmit_in_is_left_out() {
    let asked = Asked { timeout: Some(255), ..Asked::default() };
    assert_eq!(Grant::new(&asked, Mode::Octet, 1, &Ceiling::default()).oack.timeout, None);
}

#[test]
fn exactly_a_window_leaves_before_its_ack_rfc7440_4() {
    let mut bench = Bench::windowed(9, 4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.ack(8), [9, 10].map(Some));
    assert_eq!(bench.ack(10), []);
    assert_eq!(bench.transfer.ending(), Some(&Ending::Finished));
}

#[test]
fn after_an_ack_inside_a_window_the_next_block_follows_at_once_rfc7440_4() {
    let mut bench = Bench::windowed(20, 4);
    assert_eq!(bench.ack(2), [3, 4, 5, 6].map(Some));
}

#[test]
fn a_lost_first_block_of_a_window_waits_for_no_timeout() {
    let mut bench = Bench::windowed(20, 4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.ack_after(MS, 4), [], "its repetition is answered once");
}

#[test]
fn a_doubled_ack_does_not_double_the_window() {
    let mut bench = Bench::windowed(20, 4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.ack_after(MS, 4), [], "younger than a round trip");
    assert_eq!(bench.ack_after(9 * MS, 8), [9, 10, 11, 12].map(Some));
}

#[test]
fn an_early_hint_of_a_loss_shortens_the_wait_to_two_round_trips() {
    let mut bench = Bench::windowed(20, 4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.ack_after(MS, 4), []);
    let (waited, sent) = bench.wait();
    assert_eq!(sent, [5, 6, 7, 8].map(Some));
    assert!(waited <= 40 * MS, "{waited:?}");
}

#[test]
fn endless_duplicate_acks_are_not_answered_endlessly() {
    let mut bench = Bench::windowed(20, 4);
    let answers = (0..1000).filter(|_| !bench.ack_after(20 * MS, 0).is_empty()).count();
    assert!(answers <= 10, "{answers}");
}

#[test]
fn stale_and_future_acks_are_ignored() {
    let mut bench = Bench::windowed(20, 4);
    for block in [5, 6, 40_000, 65_535] {
        assert_eq!(bench.ack(block), []);
    }
    assert_eq!(bench.ack(4).len(), 4);
}

#[test]
fn block_numbers_roll_over_to_zero() {
    let mut bench = Bench::new(65_540, Asked::default());
    bench.sent();
    for block in 1..=65_540_u32 {
        assert_eq!(bench.ack(block as u16), [Some((block + 1) as u16)]);
    }
    bench.ack(5);
    assert_eq!(bench.transfer.ending(), Some(&Ending::Finished));
}

#[test]
fn an_error_after_the_oack_of_a_size_probe_is_normal_edk2() {
    for code in [8, 0] {
        let mut bench = Bench::new(3, Asked { tsize: true, ..Asked::default() });
        bench.sent();
        assert_eq!(bench.error(code), Some(Ending::Probed));
    }
}

#[test]
fn an_error_in_mid_transfer_ends_it_rfc1350_7() {
    let mut bench = Bench::new(9, Asked { tsize: true, ..Asked::default() });
    bench.sent();
    bench.ack(0);
    let ending = Some(Ending::Failed(Reason::ClientError { code: 3, text: "no".into() }));
    assert_eq!(bench.error(3), ending);
    assert_eq!(bench.ack(1), []);
    assert_eq!(bench.wait().1, []);
}

#[test]
fn a_repeated_request_is_answered_until_the_first_ack_but_no_flood_of_it() {
    let mut bench = Bench::new(9, Asked::default());
    bench.sent();
    bench.transfer.on_repeated_request(bench.now + 10 * MS);
    assert_eq!(bench.sent(), [], "too soon");
    bench.now += REPEAT_GAP;
    bench.transfer.on_repeated_request(bench.now);
    assert_eq!(bench.sent(), [Some(1)]);
    bench.ack(1);
    bench.transfer.on_repeated_request(bench.now + REPEAT_GAP);
    assert_eq!(bench.sent(), [], "it has moved on");
}

#[test]
fn a_window_never_exceeds_what_the_server_allows() {
    let ceiling = Ceiling::default();
    for (blksize, windowsize) in [(8, 65_535), (1468, 64), (1468, 16), (65_464, 4), (512, 1)] {
        let asked =
            Asked { blksize: Some(blksize), windowsize: Some(windowsize), ..Asked::default() };
        let grant = Grant::new(&asked, Mode::Octet, 9, &ceiling);
        assert_eq!(grant.blksize, blksize);
        assert!((1..=windowsize).contains(&grant.windowsize));
        assert!(usize::from(grant.windowsize) * usize::from(blksize) <= ceiling.window_octets);
    }
}

#[test]
fn the_size_of_a_translated_file_is_not_promised() {
    let asked = Asked { tsize: true, ..Asked::default() };
    assert_eq!(Grant::new(&asked, Mode::Netascii, 9, &Ceiling::default()).oack.tsize, None);
    assert_eq!(Grant::new(&asked, Mode::Octet, 9, &Ceiling::default()).oack.tsize, Some(9));
}

/// A client by the book: it acknowledges a window's last block, and the last
/// good block once when it sees a hole; after a second of silence it repeats.
#[derive(Default)]
struct Reader {
    window: u64,
    blksize: usize,
    /// Next block wanted, from 1; 0 while the OACK is awaited.
    next: u64,
    in_window: u64,
    hole_told: bool,
    content: Vec<u8>,
    done: bool,
}

impl Reader {
    fn take(&mut self, datagram: &Datagram) -> Option<u16> {
        let Datagram::Data { block, payload } = datagram else {
            self.next = self.next.max(1);
            return (self.next == 1).then_some(0);
        };
        let behind = (self.next as u16).wrapping_sub(*block);
        if self.next == 0 || self.done && behind != 1 {
            return None;
        }
        match behind {
            0 => {
                self.content.extend_from_slice(payload);
                self.next += 1;
                self.in_window += 1;
                self.hole_told = false;
                self.done = payload.len() < self.blksize;
                (self.done || self.in_window == self.window).then(|| self.acknowledge())
            }
            // The block before once more: our ACK was lost.
            1 => Some(self.acknowledge()),
            2..0x8000 => None,
            _ if self.hole_told => None,
            _ => {
                self.hole_told = true;
                Some(self.acknowledge())
            }
        }
    }

    fn acknowledge(&mut self) -> u16 {
        self.in_window = 0;
        (self.next - 1) as u16
    }
}

/// What happens to the n-th packet on the wire.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Arrives this many milliseconds late, behind others.
    Late(u8),
}

impl Fate {
    /// When the copies of a packet arrive.
    fn delays(&self) -> Vec<Duration> {
        match self {
            Fate::Arrives => vec![MS],
            Fate::Lost => vec![],
            Fate::Twice => vec![MS, MS + MS / 10],
            Fate::Late(late) => vec![MS * (u32::from(*late) + 1)],
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    ToServer(u16),
    ToClient(u64),
    ClientBored(u64),
}

struct Outcome {
    reader: Reader,
    ending: Option<Ending>,
    /// DATA packets sent.
    data: usize,
}

/// Runs a transfer to its end over a wire of 1 ms with the given fates, taken
/// in turn.
fn over(content: &[u8], window: u16, fates: &[Fate]) -> Outcome {
    let asked = Asked { blksize: Some(8), windowsize: Some(window), ..Asked::default() };
    let grant = Grant::new(&asked, Mode::Octet, content.len(), &Ceiling::default());
    let mut now = Instant::now();
    let mut transfer = Transfer::start(now, Bytes::copy_from_slice(content), Mode::Octet, grant);
    let mut reader = Reader { window: window.into(), blksize: 8, ..Reader::default() };
    let mut wire = BinaryHeap::new();
    let (mut sent, mut fates, mut data) = (Vec::new(), fates.iter().cycle(), 0);
    let mut delays = || fates.next().map_or(vec![MS], Fate::delays);
    let mut heard = 0;
    for order in 0..200_000_u64 {
        for datagram in transfer.outbox().drain(..) {
            data += usize::from(matches!(datagram, Datagram::Data { .. }));
            let number = sent.len() as u64;
            sent.push(datagram);
            // A burst leaves in order, one packet after the other.
            let turn = Duration::from_micros(number % 64);
            let arrivals = delays().into_iter().map(|delay| now + delay + turn);
            wire.extend(arrivals.map(|at| Reverse((at, order, Arrival::ToClient(number)))));
        }
        if transfer.ending().is_some() {
            break;
        }
        let first = wire.pop().filter(|Reverse((at, ..))| *at <= transfer.deadline());
        let Some(Reverse((at, _, arrival))) = first else {
            now = now.max(transfer.deadline());
            transfer.on_deadline(now);
            continue;
        };
        now = now.max(at);
        let reply = match arrival {
            Arrival::ToServer(block) => {
                transfer.on_packet(now, &Inbound::Ack(block));
                None
            }
            Arrival::ToClient(number) => {
                heard += 1;
                let second = now + Duration::from_secs(1);
                wire.push(Reverse((second, order, Arrival::ClientBored(heard))));
                reader.take(&sent[number as usize])
            }
            Arrival::ClientBored(then) => {
                let bored = then == heard && reader.next > 0 && !reader.done;
                bored.then(|| reader.acknowledge())
            }
        };
        if let Some(block) = reply {
            let arrivals = delays().into_iter().map(|delay| now + delay);
            wire.extend(arrivals.map(|at| Reverse((at, order, Arrival::ToServer(block)))));
        }
    }
    Outcome { reader, ending: transfer.ending().cloned(), data }
}

fn fates(loss: bool) -> impl Strategy<Value = Vec<Fate>> {
    let lost = if loss { Fate::Lost } else { Fate::Twice };
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(lost),
        1 => Just(Fate::Twice),
        1 => (1u8..6).prop_map(Fate::Late),
    ];
    proptest::collection::vec(fate, 1..120)
}

proptest! {
    #[test]
    fn content_is_exact_or_the_failure_clean_whatever_the_wire_does(
        content in proptest::collection::vec(any::<u8>(), 0..2000),
        window in 1u16..20,
        fates in fates(true),
    ) {
        let outcome = over(&content, window, &fates);
        let blocks = content.len() / 8 + 1;
        prop_assert!(outcome.ending.is_some(), "it ends");
        prop_assert!(content.starts_with(&outcome.reader.content));
        if outcome.ending == Some(Ending::Finished) || outcome.reader.done {
            prop_assert_eq!(&outcome.reader.content, &content);
        }
        // Ten retransmissions of a window at most for each step ahead.
        prop_assert!(outcome.data <= (blocks + 1) * 11 * usize::from(window));
    }

    #[test]
    fn a_wire_that_loses_nothing_always_finishes_and_is_not_flooded(
        content in proptest::collection::vec(any::<u8>(), 0..2000),
        window in 1u16..20,
        fates in fates(false),
    ) {
        let outcome = over(&content, window, &fates);
        let blocks = content.len() / 8 + 1;
        prop_assert_eq!(outcome.ending, Some(Ending::Finished));
        prop_assert_eq!(outcome.reader.content, content);
        if window == 1 {
            prop_assert_eq!(outcome.data, blocks, "Sorcerer's Apprentice");
        }
    }

    #[test]
    fn repeated_packets_alone_never_multiply(
        content in proptest::collection::vec(any::<u8>(), 0..2000),
        window in 1u16..20,
        twice in proptest::collection::vec(any::<bool>(), 1..50),
    ) {
        let fate = |twice: &bool| if *twice { Fate::Twice } else { Fate::Arrives };
        let fates: Vec<_> = twice.iter().map(fate).collect();
        let outcome = over(&content, window, &fates);
        prop_assert_eq!(outcome.ending, Some(Ending::Finished));
        prop_assert_eq!(outcome.reader.content, content.clone());
        prop_assert!(outcome.data <= 2 * (content.len() / 8 + 1 + usize::from(window)), "{}", outcome.data);
    }
}
