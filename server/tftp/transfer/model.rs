//! The machine against a model client, over a wire that drops, repeats and
//! reorders.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

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
