//! Clients that others wrote.

use firstlight::{dhcp::What, inventory::Intent};

use super::net::{Bench, CONFIG, INVENTORY, snapshot};

fn bench() -> Bench {
    let bench = Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu));
    bench.client_runs("ip link set cli address 52:54:00:00:01:01");
    bench
}

/// Each in a mount namespace: they keep their state in fixed places.
fn alone(bench: &Bench, script: &str) -> String {
    let run = bench.client_runs(&format!("unshare --mount sh -c '{script}' 2>&1"));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn dhcpcd_is_served() {
    let bench = bench();
    let text = alone(
        &bench,
        "mount -t tmpfs none /var/lib/dhcpcd && mount -t tmpfs none /run && \
         exec timeout 60 dhcpcd -4 --oneshot --nobackground --noarp --debug --timeout 50 \
         --script /bin/true --config /dev/null cli",
    );
    assert!(text.contains("leased 10.12.1.1 for 3600 seconds"), "{text}");
}

#[test]
fn systemd_networkd_is_served() {
    let bench = bench();
    // It waits for udev where /sys can be written, as on a host. It ends when it has an address.
    let text = alone(
        &bench,
        "mount -t tmpfs none /run && mount -o remount,ro /sys && \
         mkdir -p /run/systemd/network && \
         printf \"[Match]\\nName=cli\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n\" \
         > /run/systemd/network/10.network || exit; \
         timeout 60 /lib/systemd/systemd-networkd > /run/log 2>&1 & \
         until grep -q \"DHCPv4 address\" /run/log || ! kill -0 $! 2>/dev/null; do sleep 0.1; done; \
         kill $!; wait; cat /run/log",
    );
    assert!(text.contains("DHCPv4 address 10.12.1.1/16, gateway 10.12.0.254"), "{text}");
}

#[test]
fn perfdhcps_clients_all_get_an_address_each() {
    let wide = CONFIG.replace("10.12.9.1-10.12.9.20", "10.12.9.1-10.12.9.250");
    let bench = Bench::start(snapshot(&wide, INVENTORY, &Intent::Menu));
    bench.client_runs("ip address add 10.12.0.200/16 dev cli");
    // A hundred clients, fifty exchanges a second; five seconds to answer the last.
    let run = bench.client_runs("perfdhcp -4 -r 50 -R 100 -n 100 -d 5 -W 5000000 -l cli all 2>&1");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let figures = |name: &str| -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|number| number.trim().parse().unwrap()).collect()
    };
    let (sent, received) = (figures("sent packets:"), figures("received packets:"));
    assert!(sent.len() == 2 && sent[0] > 50, "{text}");
    assert_eq!(sent, received, "{text}");
    assert_eq!(figures("non unique addresses:"), [0, 0], "{text}");
    let acked = bench.wait_for(|seen| seen.what == What::Acked);
    assert!(acked.ip.unwrap().to_string().starts_with("10.12.9."));
}
