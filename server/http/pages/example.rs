//! An example site for tests: racks in all states, one blade's journal, the pages they make.

use jiff::tz::TimeZone;
use serde_json::json;

use super::{
    facts::{Facts, Known, facts, line},
    lang::{Lang, Words},
    layout::Page,
    racks::{self, Beside},
    texts::Texts,
    timeline::{Marks, Run, Span, spans, spans_of_run},
};
use crate::{
    blade::{AttemptId, Event, Kind, Millis, Outcome, Phase, Standing},
    config::Config,
    db::AttemptRow,
    http::view::{self, BladeView, Overview},
    inventory::{Document, Intent, Snapshot},
};

/// 2026-11-03 14:02:10 UTC.
const START: Millis = 1_793_714_530_000;
const NOW: Millis = START + 112_000;
/// Milliseconds from one phase to the next, from `Powering` on.
const PACE: [i64; 19] = [
    400, 38_000, 20, 1_400, 700, 6_100, 10_800, 600, 900, 1_900, 31_000, 2_200, 700, 1_500, 400,
    300, 24_000, 9_000, 7_000,
];

pub fn words(lang: Lang) -> Words<'static> {
    static UTC: TimeZone = TimeZone::UTC;
    Words { t: Texts::of(lang), zone: &UTC }
}

pub fn row(blade: &str, phase: Phase, outcome: Outcome) -> AttemptRow {
    let writing = phase == Phase::Write;
    AttemptRow {
        id: AttemptId(uuid::Uuid::nil()),
        blade: blade.parse().unwrap(),
        cluster: "prod-a".parse().unwrap(),
        role: "production-worker".into(),
        number: 2,
        r#try: 1,
        standing: Standing { phase, outcome },
        reason: None,
        started: START,
        phase_since: NOW - 12_000,
        last_seen: NOW - 700,
        ended: outcome.is_over().then_some(NOW - 300),
        bytes_done: if writing { 1_420_000_000 } else { 0 },
        bytes_total: if writing { 2_100_000_000 } else { 0 },
        hello: None,
        host_keys: None,
    }
}

pub fn marks(until: Phase, slow: i64) -> Marks {
    let road = Phase::ALL.into_iter().skip(1).zip(std::iter::once(&0).chain(&PACE));
    let mut at = START;
    road.take_while(|(phase, _)| *phase <= until)
        .map(|(phase, before)| {
            at += if phase > Phase::Write { before * slow } else { *before };
            (phase, at)
        })
        .collect()
}

/// Racks of two chassis of 14, in all states, the same each time.
pub fn site(racks: usize, slots: u16) -> Overview {
    let mut toml = String::new();
    let mut blades = String::new();
    for r in 1..=racks {
        toml += &format!("[[rack]]\nname = \"r{r}\"\n");
        for c in 1..=2 {
            toml += &format!(
                "[[rack.chassis]]\nname = \"c{c}\"\nslots = {slots}\nbmc_first = \"10.20{r}.0.{c}\"\nip_first = \"10.12.{r}.{}\"\n",
                c * 14
            );
            for b in (1..=slots).filter(|b| b % 13 != 12) {
                blades += &format!(
                    "[[blade]]\nname = \"r{r}-c{c}-b{b:02}\"\nslot = {{ rack = \"r{r}\", chassis = \"c{c}\", slot = {b} }}\nmacs = [\"52:54:00:9a:{r:x}{c:x}:{b:02x}\"]\narch = \"amd64\"\n"
                );
            }
        }
    }
    toml += &blades;
    let mut document = Document::parse(&toml).unwrap();
    let names = document.blades.iter().map(|blade| blade.name.to_string()).collect();
    document.clusters =
        Document::parse("[[cluster]]\nname = \"prod-a\"\ntopology = \"production\"\n")
            .unwrap()
            .clusters;
    document.clusters[0].roles.insert("production-worker".into(), names);
    let rows: Vec<AttemptRow> = document
        .blades
        .iter()
        .enumerate()
        .filter_map(|(n, blade)| state_of(n, blade.name.as_str()))
        .collect();
    let config = Config::parse("site = \"beijing-dc1\"\n[boot]\ninterfaces = [\"eth0\"]\n[[subnet]]\ncidr = \"10.12.0.0/16\"\n").unwrap();
    let snapshot = Snapshot::build(&config, &document, &|_, _| (Intent::Menu, None));
    view::overview("beijing-dc1", &snapshot, &document, &rows, NOW)
}

fn state_of(n: usize, name: &str) -> Option<AttemptRow> {
    let going = |phase| row(name, phase, Outcome::Going);
    Some(match (n * 7 + n / 5) % 26 {
        0 | 13 => return None,
        1 => going(Phase::Kernel),
        2 => AttemptRow { bytes_done: 300_000_000, ..going(Phase::Write) },
        3 | 4 => AttemptRow { bytes_done: 100_000_000 * (n as i64 % 20), ..going(Phase::Write) },
        5 => going(Phase::Configure),
        6 => going(Phase::Rebooting),
        7 => going(Phase::Joining),
        8 if n.is_multiple_of(2) => AttemptRow {
            reason: Some("E_CHECKSUM: the image read back is not the image written".into()),
            ..row(name, Phase::Verify, Outcome::Failed)
        },
        9 if n.is_multiple_of(3) => AttemptRow {
            reason: Some(
                "stalled in dhcp: silent for 121 s; waiting for the boot file to be asked for"
                    .into(),
            ),
            ..row(name, Phase::Dhcp, Outcome::Stalled)
        },
        10 if n.is_multiple_of(4) => row(name, Phase::Preflight, Outcome::Held),
        _ => row(name, Phase::Ready, Outcome::Ready),
    })
}

pub fn event(id: i64, at: i64, kind: Kind, phase: Phase, text: &str) -> Event {
    Event {
        id,
        at: START + at,
        kind,
        blade: Some("r1-c2-b03".parse().unwrap()),
        mac: None,
        attempt: None,
        phase: Some(phase),
        text: text.to_owned(),
        detail: json!(null),
    }
}

pub fn log() -> Vec<Event> {
    let mut events = vec![
        event(
            1,
            0,
            Kind::Attempt,
            Phase::Off,
            "attempt 2 begins: production-worker of cluster prod-a (deployed by an operator)",
        ),
        event(
            2,
            114,
            Kind::Power,
            Phase::Powering,
            "on, boot from the network once (ipmi 10.202.1.5)",
        ),
        event(3, 38_901, Kind::Dhcp, Phase::Dhcp, "DISCOVER, UEFI x64: offer 10.12.1.33, ipxe.efi"),
        event(4, 38_930, Kind::Dhcp, Phase::Dhcp, "REQUEST: ACK 10.12.1.33 for 1 h, reserved"),
        event(
            5,
            39_004,
            Kind::Tftp,
            Phase::Bootfile,
            "ipxe.efi: 1,036,288 bytes in 0.3 s, blksize 1468, windowsize 1",
        ),
        event(6, 41_200, Kind::Http, Phase::Kernel, "kernel fetched, 8,123,456 bytes"),
        event(7, 58_000, Kind::Report, Phase::Live, "live done: amd64, 262144 MB"),
        event(8, 62_900, Kind::Report, Phase::Partition, "partition done: /dev/nvme0n1, 1.9 TB"),
        event(9, 90_000, Kind::Report, Phase::Write, "write goes on"),
    ];
    events.reverse();
    events
}

/// A blade that writes four times slower than its run.
pub fn chosen(
    view: &BladeView,
    row: &AttemptRow,
    events: &[Event],
    words: &Words<'_>,
    all: bool,
) -> Facts {
    let run: Vec<Vec<Span>> = (0..5).map(|_| spans_of_run(marks(Phase::Ready, 1))).collect();
    let mine = spans(row, &marks(row.standing.phase, 1), NOW);
    facts(
        &Known {
            view,
            row: Some(row),
            spans: &mine,
            run: &Run::of(&run),
            events,
            others: 27,
            now: NOW,
        },
        words,
        all,
    )
}

pub fn racks_html(lang: Lang, overview: &Overview, blade: Option<&str>) -> String {
    use askama::Template as _;
    let words = words(lang);
    let blade =
        blade.and_then(|name| racks::every_blade(overview).find(|view| view.name.as_str() == name));
    let chosen = blade.map(|view| {
        let row = AttemptRow {
            bytes_done: view.bytes_done,
            ..row(view.name.as_str(), view.phase, view.outcome.unwrap())
        };
        chosen(view, &row, &log(), &words, false)
    });
    let log = log().iter().map(|event| line(event, &words)).collect();
    let page = Page::new(&words, &overview.site, "racks", words.t.racks, "/").following(9);
    racks::model(page, overview, Beside { tray: Vec::new(), chosen, log }, &words).render().unwrap()
}

pub fn blade_html(lang: Lang, row: &AttemptRow, events: &[Event]) -> String {
    use askama::Template as _;
    let words = words(lang);
    let overview = site(1, 14);
    let mut view =
        racks::every_blade(&overview).find(|view| view.name == row.blade).unwrap().clone();
    view.class = row.standing.class();
    view.percent = row.standing.phase.percent(0, 0);
    (view.phase, view.outcome, view.reason) =
        (row.standing.phase, Some(row.standing.outcome), row.reason.clone());
    let page =
        Page::new(&words, "beijing-dc1", "racks", row.blade.as_str(), "/blades/x").following(9);
    let run: Vec<Vec<Span>> = (0..5).map(|_| spans_of_run(marks(Phase::Ready, 1))).collect();
    let spans = spans(row, &marks(row.standing.phase, 1), NOW);
    let known = Known {
        view: &view,
        row: Some(row),
        spans: &spans,
        run: &Run::of(&run),
        events,
        others: 27,
        now: NOW,
    };
    let past = AttemptRow {
        started: START - 90_000_000,
        number: 1,
        ended: Some(START - 89_769_000),
        ..super::example::row(row.blade.as_str(), Phase::Ready, Outcome::Ready)
    };
    super::blade::model(page, &known, None, &[row.clone(), past], &words).render().unwrap()
}

pub fn failed() -> AttemptRow {
    let hello = json!({
        "serial": "CN7792210B", "uuid": "4c4c4544-0043-4e10-8037-b7c04f313233", "arch": "amd64", "cpus": 32, "ram_mb": 262_144, "firmware": "uefi",
        "disks": [{ "name": "nvme0n1", "size": 1_920_383_410_176_i64, "model": "SAMSUNG MZQL21T9", "serial": "S64GNE0R", "has_data": true }],
    });
    AttemptRow {
        reason: Some("E_CHECKSUM: read back 5f3a…, expected 91bc…".into()),
        hello: Some(hello.to_string()),
        ..row("r1-c2-b13", Phase::Verify, Outcome::Failed)
    }
}
