//! The machine by hand.
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
fn a_repeated_window_does_not_put_client_and_server_out_of_step() {
    // Block 8 is lost; EDK2 acknowledges every block it did not expect and
    // then wants a whole window.
    let mut bench = Bench::windowed(30, 4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
    assert_eq!(bench.wait().1, [5, 6, 7, 8].map(Some), "5, 6, 7 are seen twice");
    assert_eq!(bench.ack(7), [9, 10, 11].map(Some), "completes 8 to 11");
    assert_eq!(bench.ack_after(Duration::ZERO, 7), []);
    assert_eq!(bench.ack_after(Duration::ZERO, 7), []);
    assert_eq!(bench.ack(11), [12, 13, 14, 15].map(Some), "nothing twice any more");
    // Had 8 been lost again, its hole would be seen behind it.
    let mut bench = Bench::windowed(30, 4);
    bench.wait();
    assert_eq!(bench.ack(3), [5, 6, 7].map(Some));
    assert_eq!(bench.ack(3), [4, 5, 6, 7].map(Some));
}

#[test]
fn endless_duplicate_acks_are_not_answered_endlessly() {
    let mut bench = Bench::windowed(20, 4);
    let answers = (0..1000).filter(|_| !bench.ack_after(20 * MS, 0).is_empty()).count();
    assert!(answers <= 10, "{answers}");
}

#[test]
fn a_client_that_repeats_itself_in_one_breath_is_not_silent() {
    // EDK2 short of CPU: it acknowledges each copy of what it has in its queue.
    let mut bench = Bench::windowed(20, 4);
    for _ in 0..30 {
        bench.ack_after(20 * MS, 0);
    }
    assert_eq!(bench.wait().1, [1, 2, 3, 4].map(Some));
    assert_eq!(bench.ack(4), [5, 6, 7, 8].map(Some));
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
