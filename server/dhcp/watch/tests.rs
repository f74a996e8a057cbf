use super::*;

const EVERY: Millis = 60_000;
const ROGUE: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 9);
const ROGUE_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn offer(yiaddr: Option<Ipv4Addr>) -> ServerMessage {
    ServerMessage { server_id: Some(ROGUE), yiaddr, ..ServerMessage::default() }
}

fn hear(watch: &mut Watch, message: &ServerMessage, now: Millis) -> Option<News> {
    watch.heard(Heard { interface: "eth1", sender: ROGUE_MAC, from: ROGUE, message }, now)
}

#[test]
fn a_foreign_server_is_news_once_and_gone_after_three_silent_questions() {
    let mut watch = Watch::new(false, EVERY);
    watch.asking("eth1", false, 0);
    assert!(!watch.notices(0)[0].warning);
    let message = offer(Some(Ipv4Addr::new(10, 12, 7, 1)));
    let Some(News::Appeared(found)) = hear(&mut watch, &message, 0) else { panic!("no news") };
    for word in ["10.12.0.9", "02:00:00:00:00:09", "eth1", "10.12.7.1", "proxy"] {
        assert!(found.words().contains(word), "{}", found.words());
    }
    assert_eq!(hear(&mut watch, &message, EVERY), None);
    assert!(watch.notices(EVERY)[0].warning);
    assert_eq!(watch.sweep(4 * EVERY), []);
    assert!(matches!(&watch.sweep(4 * EVERY + 1)[..], [News::Gone(gone)] if gone.server == ROGUE));
    assert!(!watch.notices(5 * EVERY)[0].warning);
}

#[test]
fn victims_are_named_with_their_port_and_bounded() {
    let mut watch = Watch::new(false, EVERY);
    let victim = |name: Option<&str>| Victim {
        name: name.map(str::to_owned),
        ip: Some(Ipv4Addr::new(10, 12, 7, 1)),
        port: Some("sw1 · 7".to_owned()),
    };
    let first = Mac([0, 0, 0, 0, 0, 1]);
    assert!(watch.took("eth1", ROGUE, first, victim(Some("b01")), 0).is_some());
    for n in 0..1000u16 {
        let [high, low] = n.to_be_bytes();
        assert_eq!(watch.took("eth1", ROGUE, Mac([2, 0, 0, 0, high, low]), victim(None), 1), None);
    }
    let text = &watch.notices(1)[0].text;
    assert!(text.contains("b01 00:00:00:00:00:01 (10.12.7.1) at sw1 · 7"), "{text}");
    assert!(text.contains("27 more"), "{text}");
    // Only clients named it: it is believed for ten minutes.
    assert_eq!(watch.sweep(HEARSAY_MS), []);
    assert_eq!(watch.sweep(HEARSAY_MS + 2).len(), 1);
}

#[test]
fn made_up_servers_are_bounded() {
    let mut watch = Watch::new(false, EVERY);
    for n in 0..10_000u32 {
        let message = ServerMessage { server_id: Some(n.into()), ..ServerMessage::default() };
        hear(&mut watch, &message, 0);
    }
    assert_eq!(watch.trouble().count(), MOST_SERVERS);
}

#[test]
fn in_proxy_mode_the_server_of_addresses_is_expected_and_a_rival_is_told() {
    let mut watch = Watch::new(true, EVERY);
    watch.asking("eth1", false, 0);
    assert!(watch.notices(ANSWER_MS).is_empty(), "it may need a moment");
    let none = &watch.notices(ANSWER_MS + 1)[0];
    assert!(none.warning && none.text.contains("no DHCP server answers"), "{none:?}");
    watch.asking("eth1", true, 0);
    assert!(!watch.notices(ANSWER_MS + 1)[0].warning, "one on this machine");

    assert_eq!(hear(&mut watch, &offer(Some(Ipv4Addr::new(10, 12, 7, 1))), 0), None);
    assert!(!watch.notices(0)[0].warning);
    let boots = ServerMessage { boots: true, ..offer(Some(Ipv4Addr::new(10, 12, 7, 1))) };
    hear(&mut watch, &boots, 0);
    assert!(watch.notices(0)[0].warning, "{:?}", watch.notices(0));

    let rival = ServerMessage {
        server_id: Some(Ipv4Addr::new(10, 12, 0, 10)),
        boots: true,
        ..ServerMessage::default()
    };
    let Some(News::Appeared(found)) = hear(&mut watch, &rival, 0) else { panic!("no news") };
    assert!(found.words().contains("PXE (proxy DHCP) server"), "{}", found.words());
}

#[test]
fn a_jump_of_the_clock_does_not_make_a_server_go() {
    let mut watch = Watch::new(false, EVERY);
    hear(&mut watch, &offer(None), 0);
    watch.shift(10 * EVERY);
    assert_eq!(watch.sweep(10 * EVERY + 1), []);
}
