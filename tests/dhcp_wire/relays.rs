//! Relays behind relays, as in a room whose leaf switches relay to a spine.

use firstlight::{config::DhcpMode, dhcp::What, inventory::Intent};

use super::{
    net::{Bench, CONFIG, INVENTORY, Port, port_in, runs, sh, snapshot},
    others::Other,
};

const B03: [u8; 6] = [0x52, 0x54, 0, 0, 1, 3];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 3];

/// The network of the blades, behind the first relay, and the one between the relays.
const SUBNETS: &str = r#"
[[subnet]]
cidr = "10.13.0.0/24"
pool = ["10.13.0.100-10.13.0.110"]
[[subnet]]
cidr = "10.14.0.0/24"
pool = ["10.14.0.100-10.14.0.110"]
"#;

/// A client at `far`, a relay from `leaf` to `north`, one from `south` to the server's switch, which
/// is also the router between.
fn two_relays() -> (Bench, [Other; 2], String) {
    let blade = "[[blade]]\nname = \"b03\"\nmacs = [\"52:54:00:00:01:03\"]\nip = \"10.13.0.3\"\n";
    let inventory = format!("{INVENTORY}{blade}");
    let known = snapshot(&format!("{CONFIG}{SUBNETS}"), &inventory, &Intent::Menu);
    let mut bench = Bench::switched(known, DhcpMode::Server);
    let (first, second) = (bench.host("first", ""), bench.host("second", "10.12.0.2/16"));
    let (server, clients) = (&bench.server_ns, &bench.client_ns);
    sh(&format!(
        "set -e
         ip -n {first} link add leaf type veth peer name far netns {clients}
         ip -n {first} link add north type veth peer name south netns {second}
         ip -n {first} address add 10.13.0.1/24 dev leaf
         ip -n {first} address add 10.14.0.2/24 dev north
         ip -n {second} address add 10.14.0.1/24 dev south
         ip -n {first} link set leaf up
         ip -n {first} link set north up
         ip -n {second} link set south up
         ip -n {clients} link set far up
         ip -n {first} route add default via 10.14.0.1
         ip -n {second} route add 10.13.0.0/24 via 10.14.0.2
         ip -n {server} route add 10.13.0.0/24 via 10.12.0.2
         ip netns exec {second} sysctl -q net.ipv4.ip_forward=1"
    ));
    bench.serve();
    let relays = [
        Other::dhcrelay_to("10.14.0.1", &first, "north", "leaf"),
        Other::dhcrelay_to("10.12.0.1", &second, "second", "south"),
    ];
    (bench, relays, first)
}

/// busybox's client at the far end with this MAC; what it was given.
fn client(bench: &Bench, mac: [u8; 6]) -> String {
    let mac = firstlight::blade::Mac(mac);
    let run = runs(
        &bench.client_ns,
        &format!(
            "ip link set dev far address {mac} && \
             udhcpc -i far -n -q -f -t 5 -T 2 -s /bin/true 2>&1"
        ),
    );
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{text}");
    text
}

/// Option 82 of a message, octet by octet (RFC 3046 §2.0).
fn relay_agent(payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload.get(240..)?;
    loop {
        match rest {
            [0, tail @ ..] => rest = tail,
            [82, length, tail @ ..] => return tail.get(..usize::from(*length)),
            [255, ..] | [] | [_] => return None,
            [_, length, tail @ ..] => rest = tail.get(usize::from(*length)..)?,
        }
    }
}

/// The next message about `mac` that passes here with this `op` (1 to servers, 2 from them).
fn passing(port: &Port, op: u8, mac: [u8; 6]) -> Vec<u8> {
    let frame = port.receive(|frame| frame.payload[0] == op && frame.payload[28..34] == mac);
    frame.expect("it passes between the relays").payload
}

#[test]
fn rfc1542_4_1_1_a_blade_behind_two_relays_is_served_by_the_word_of_the_first() {
    let (bench, relays, first) = two_relays();
    let between = port_in(&first, "north");
    let text = client(&bench, B03);
    let logs = || relays.iter().map(Other::log).collect::<Vec<_>>().join("\n---\n");
    assert!(text.contains("lease of 10.13.0.3 obtained from 10.12.0.1"), "{text}\n{}", logs());

    // RFC 3046 §2.2: what the first relay has added comes back to it octet by octet.
    for _ in ["DISCOVER and OFFER", "REQUEST and ACK"] {
        let (asked, answered) = (passing(&between, 1, B03), passing(&between, 2, B03));
        assert_eq!(asked[24..28], [10, 13, 0, 1], "giaddr is the first relay's");
        let added = relay_agent(&asked).expect("dhcrelay -a adds option 82");
        assert_eq!(added[..6], *b"\x01\x04leaf");
        assert_eq!(relay_agent(&answered), Some(added));
    }
    let seen = bench.wait_for(|seen| seen.what == What::Acked);
    assert_eq!((seen.mac.0, seen.relay), (B03, Some([10, 13, 0, 1].into())));
    assert!(seen.switch_port.as_deref().is_some_and(|port| port.starts_with("leaf")), "{seen:?}");
}

#[test]
fn a_stranger_behind_two_relays_is_given_an_address_of_the_first_relays_network() {
    let (bench, _relays, _) = two_relays();
    let text = client(&bench, STRANGER);
    assert!(text.contains("lease of 10.13.0.100 obtained from 10.12.0.1"), "{text}");
}
