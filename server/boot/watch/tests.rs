use super::*;

const EVERY: Millis = 60_000;
const ROGUE: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 9);
const ROGUE_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn offer(offered: Option<Ipv4Addr>) -> Heard<'static> {
    Heard {
        interface: "eth1",
        server: ServerName::V4(ROGUE),
        from: ROGUE.into(),
        mac: Some(ROGUE_MAC),
        relay: None,
        offered: offered.map(IpAddr::V4),
        boots: false,
    }
}

fn advertise(offered: Option<&str>) -> Heard<'static> {
    let from = "fe80::9".parse().unwrap();
    let offered = offered.map(|ip| ip.parse().unwrap());
    Heard { server: ServerName::V6(Duid::of_mac(ROGUE_MAC)), from, offered, ..offer(None) }
}

fn hear(watch: &mut Watch, heard: &Heard<'static>, now: Millis) -> Option<News> {
    watch.heard(heard.clone(), now)
}

#[test]
fn a_foreign_server_is_news_once_and_gone_after_three_silent_questions() {
    let mut watch = Watch::v4(false, EVERY);
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
    assert!(
        matches!(&watch.sweep(4 * EVERY + 1)[..], [News::Gone(gone)] if gone.server == ServerName::V4(ROGUE))
    );
    assert!(!watch.notices(5 * EVERY)[0].warning);
}

#[test]
fn victims_are_named_with_their_port_and_bounded() {
    let mut watch = Watch::v4(false, EVERY);
    let victim = |name: Option<&str>| Victim {
        name: name.map(|name| name.parse().unwrap()),
        ip: Some(Ipv4Addr::new(10, 12, 7, 1).into()),
        port: Some("sw1 · 7".to_owned()),
    };
    let took = |watch: &mut Watch, mac: [u8; 6], victim: Victim, now: Millis| {
        watch.took("eth1", &ServerName::V4(ROGUE), ClientName::Mac(Mac(mac)), victim, now)
    };
    assert!(took(&mut watch, [0, 0, 0, 0, 0, 1], victim(Some("b01")), 0).is_some());
    for n in 0..1000u16 {
        let [high, low] = n.to_be_bytes();
        assert_eq!(took(&mut watch, [2, 0, 0, 0, high, low], victim(None), 1), None);
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
    let mut watch = Watch::v4(false, EVERY);
    for n in 0..10_000u32 {
        let message = Heard { server: ServerName::V4(n.into()), ..offer(None) };
        hear(&mut watch, &message, 0);
    }
    assert_eq!(watch.trouble().count(), MOST_SERVERS);
}

#[test]
fn in_proxy_mode_the_server_of_addresses_is_expected_and_a_rival_is_told() {
    let mut watch = Watch::v4(true, EVERY);
    watch.asking("eth1", false, 0);
    assert!(watch.notices(ANSWER_MS).is_empty(), "it may need a moment");
    let none = &watch.notices(ANSWER_MS + 1)[0];
    assert!(none.warning && none.text.contains("no DHCP server answers"), "{none:?}");
    watch.asking("eth1", true, 0);
    assert!(!watch.notices(ANSWER_MS + 1)[0].warning, "one on this machine");

    assert_eq!(hear(&mut watch, &offer(Some(Ipv4Addr::new(10, 12, 7, 1))), 0), None);
    assert!(!watch.notices(0)[0].warning);
    let boots = Heard { boots: true, ..offer(Some(Ipv4Addr::new(10, 12, 7, 1))) };
    hear(&mut watch, &boots, 0);
    assert!(watch.notices(0)[0].warning, "{:?}", watch.notices(0));

    let server = ServerName::V4(Ipv4Addr::new(10, 12, 0, 10));
    let rival = Heard { server, boots: true, ..offer(None) };
    let Some(News::Appeared(found)) = hear(&mut watch, &rival, 0) else { panic!("no news") };
    assert!(found.words().contains("PXE (proxy DHCP) server"), "{}", found.words());
}

#[test]
fn a_jump_of_the_clock_does_not_make_a_server_go() {
    let mut watch = Watch::v4(false, EVERY);
    hear(&mut watch, &offer(None), 0);
    watch.shift(10 * EVERY);
    assert_eq!(watch.sweep(10 * EVERY + 1), []);
}

#[test]
fn rfc8415_s18_2_9_a_dhcpv6_server_is_news_once_it_gives_an_address_or_a_boot_file() {
    let mut watch = Watch::v6(EVERY);
    watch.asking("eth1", false, 0);
    assert!(watch.notices(0)[0].text.contains("no other DHCPv6 server"), "{:?}", watch.notices(0));
    assert_eq!(hear(&mut watch, &advertise(None), 0), None);
    let harmless = &watch.notices(0)[0];
    assert!(!harmless.warning && harmless.text.contains("neither address"), "{harmless:?}");

    let gives = advertise(Some("fd00:12::7"));
    let Some(News::Appeared(found)) = hear(&mut watch, &gives, EVERY) else { panic!("no news") };
    for word in ["DHCPv6", "fe80::9", "00:03:00:01:02:00:00:00:00:09", "fd00:12::7", "by IPv6"] {
        assert!(found.words().contains(word), "{}", found.words());
    }
    assert!(!found.words().contains("proxy"), "{}", found.words());
    assert_eq!(hear(&mut watch, &gives, 2 * EVERY), None);
    assert!(matches!(&watch.sweep(6 * EVERY)[..], [News::Gone(_)]));

    let boots = Heard { boots: true, ..advertise(None) };
    assert!(matches!(hear(&mut watch, &boots, 7 * EVERY), Some(News::Appeared(_))));
}

#[test]
fn a_dhcpv6_server_that_only_clients_name_is_told_by_its_duid() {
    let mut watch = Watch::v6(EVERY);
    let server = ServerName::V6(Duid::of_mac(ROGUE_MAC));
    let victim = Victim { name: None, ip: "fd00:12::7".parse().ok(), port: None };
    let client = ClientName::Duid(Duid::of_uuid(&[7; 16]));
    let news = watch.took("eth1", &server, client, victim, 0);
    let Some(News::Appeared(found)) = news else { panic!("no news") };
    for word in ["server: DUID 00:03:00:01", "taken by DUID 00:04:07", "(fd00:12::7)"] {
        assert!(found.words().contains(word), "{}", found.words());
    }
}
