//! Whole pages: snapshots, hostile text, what a reader without colours is told; and, where
//! `PAGES_TO` names a folder, files to look at in a browser.

use serde_json::json;

use super::{
    example::{blade_html, event, failed, log, racks_html, site, words},
    lang::Lang,
    layout::Page,
    racks, tables,
    texts::Texts,
};
use crate::{
    blade::{Event, Hostname, Kind, Phase},
    db::AttemptRow,
    http::view::{BladeView, Finding},
};

/// Without the hashes of style and script, which change with every colour.
fn stable(html: &str) -> String {
    let mut parts = html.split("?v=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

#[test]
fn the_racks_in_english() {
    insta::assert_snapshot!(stable(&racks_html(Lang::En, &site(1, 3), None)));
}

#[test]
fn a_failed_blade_in_chinese() {
    insta::assert_snapshot!(stable(&blade_html(Lang::Zh, &failed(), &log())));
}

/// Text between the tags of a page, and every attribute, must hold no tag of a blade's making.
#[test]
fn what_a_blade_says_is_text_and_never_markup() {
    const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut events = log();
    for event in &mut events {
        event.text = EVIL.to_owned();
        event.detail = json!({ "log_tail": EVIL });
    }
    let hello = json!({ "serial": EVIL, "arch": EVIL, "firmware": EVIL, "uuid": EVIL, "cpus": 1, "disks": [{ "name": EVIL, "model": EVIL, "serial": EVIL }] });
    let row = AttemptRow {
        reason: Some(EVIL.into()),
        role: EVIL.into(),
        hello: Some(hello.to_string()),
        ..failed()
    };
    let mut overview = site(1, 14);
    overview.site = EVIL.into();
    overview.findings = vec![Finding::new(EVIL, EVIL, EVIL)];
    for view in overview
        .racks
        .iter_mut()
        .flat_map(|rack| &mut rack.chassis)
        .flat_map(|chassis| &mut chassis.slots)
        .flatten()
    {
        (view.role, view.arch, view.reason) =
            (Some(EVIL.into()), Some(EVIL.into()), Some(EVIL.into()));
    }
    let mut search = Page::new(&words(Lang::En), EVIL, "racks", EVIL, EVIL);
    search.query = EVIL.into();
    let found: Vec<&BladeView> = racks::every_blade(&overview).collect();
    let pages = [
        racks_html(Lang::En, &overview, None),
        racks_html(Lang::Zh, &overview, Some("r1-c2-b05")),
        blade_html(Lang::En, &row, &events),
        askama::Template::render(&tables::found(search, &found, &words(Lang::En))).unwrap(),
    ];
    for page in pages {
        assert!(page.contains("alert(1)"), "the page shows what was said");
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
        assert!(!page.contains("\"'>"), "an attribute ends where the page says: {page}");
    }
}

#[test]
fn pages_hold_no_style_and_no_script_of_their_own() {
    for page in [
        racks_html(Lang::En, &site(1, 14), Some("r1-c2-b05")),
        blade_html(Lang::En, &failed(), &log()),
    ] {
        assert!(
            !page.contains(" style=") && !page.contains("<style") && !page.contains("javascript:")
        );
        assert!(!page.contains(" onclick=") && page.matches("<script").count() == 1);
    }
}

#[test]
fn every_slot_says_its_number_blade_and_state_without_colour() {
    let overview = site(3, 14);
    let page = racks_html(Lang::En, &overview, None);
    assert_eq!(page.matches("class=\"slot ").count(), 84);
    for view in racks::every_blade(&overview) {
        let (slot, name, class) =
            (view.slot.unwrap(), &view.name, Texts::of(Lang::En).class(view.class));
        assert!(page.contains(&format!("aria-label=\"slot {slot}, {name}: {class}")), "{name}");
    }
    assert!(page.contains("empty slot 12"));
}

#[test]
fn a_blade_is_found_by_name_mac_address_and_place() {
    let overview = site(1, 14);
    let found = |query: &str| {
        racks::every_blade(&overview)
            .filter(|view| tables::matches(view, query, &words(Lang::En)))
            .count()
    };
    for one in ["r1-c2-b05", "52:54:00:9a:12:05", "52-54-00-9A-12-05", "5254009a1205", "10.12.1.32"]
    {
        assert_eq!(found(one), 1, "{one}");
    }
    assert_eq!((found("R1"), found("prod-a worker"), found("nothing")), (26, 26, 0));
}

#[test]
fn of_reports_that_go_on_only_the_newest_is_told() {
    let mut events: Vec<Event> =
        (1..=50).map(|n| event(n, n, Kind::Report, Phase::Write, "write goes on")).collect();
    for (event, done) in events.iter_mut().zip(1_i64..) {
        event.detail = json!({ "state": "progress", "bytes_done": done * 1_000_000, "bytes_total": 50_000_000 });
    }
    events.push(event(51, 51, Kind::Report, Phase::Write, "write done"));
    events.reverse();
    let told: Vec<String> = super::facts::log(&events, 10, &words(Lang::En))
        .into_iter()
        .map(|line| line.text)
        .collect();
    assert_eq!(told, ["write done", "write goes on · 50 MB of 50 MB"]);
}

/// `PAGES_TO=/tmp/pages cargo test pages_to_look_at`, then open them.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("PAGES_TO").map(std::path::PathBuf::from) else { return };
    let here = |html: String| html.replace("/static/", "").replace("?v=", "#");
    let mut full = site(3, 14);
    full.findings = vec![Finding::new(
        "warning",
        "Another DHCP server answers",
        "10.12.0.77 (00:1e:67:aa:04:19) offered 10.12.9.3 at 14:02:11. Blades may boot from it.",
    )];
    let mut small = site(1, 3);
    small.racks[0].chassis.truncate(1);
    let name: Hostname = "r1-c2-b03".parse().unwrap();
    let files = [
        ("racks.html", racks_html(Lang::En, &full, Some(name.as_str()))),
        ("racks-none.html", racks_html(Lang::En, &full, None)),
        ("racks-zh.html", racks_html(Lang::Zh, &full, Some(name.as_str()))),
        ("small.html", racks_html(Lang::En, &small, Some("r1-c1-b02"))),
        ("blade.html", blade_html(Lang::En, &failed(), &log())),
        ("blade-zh.html", blade_html(Lang::Zh, &failed(), &log())),
    ];
    for (file, html) in files {
        std::fs::write(folder.join(file), here(html)).unwrap();
    }
    for asset in ["style.css", "icon.svg"] {
        std::fs::copy(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web-ui").join(asset),
            folder.join(asset),
        )
        .unwrap();
    }
}
