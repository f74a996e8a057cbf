//! DHCP servers and relays of others, in namespaces of their own, and waiting for what ours says of them.

use std::{
    fmt::Debug,
    fs,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::net::{Notices, runs};

/// A program of somebody else; stopped when it is dropped.
pub struct Other {
    child: Child,
    /// Its leases, its log.
    dir: tempfile::TempDir,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Other {
    fn start(ns: &str, command: &str, files: &[(&str, &str)]) -> Other {
        Other::start_on(67, ns, command, files)
    }

    /// Starts `command` in `ns` and waits until it has this UDP port. `DIR` in it is a directory.
    fn start_on(udp: u16, ns: &str, command: &str, files: &[(&str, &str)]) -> Other {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let command = command.replace("DIR", &dir.path().display().to_string());
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", ns, "sh", "-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let other = Other { child, dir };
        let until = Instant::now() + Duration::from_secs(20);
        while runs(ns, &format!("ss -H -lun sport = {udp}")).stdout.is_empty() {
            assert!(Instant::now() < until, "{command} has no port {udp}: {}", other.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        other
    }

    /// dhcrelay of ISC from the port `down` to the server behind the port `up`.
    pub fn dhcrelay(ns: &str, up: &str, down: &str) -> Other {
        Other::dhcrelay_to("10.12.0.1", ns, up, down)
    }

    /// The same with another next hop, which may be a relay too. What a relay before it has said
    /// in option 82 it leaves as it is (RFC 3046 §2.1).
    pub fn dhcrelay_to(next: &str, ns: &str, up: &str, down: &str) -> Other {
        let command = format!("dhcrelay -4 -d --no-pid -a -m forward -iu {up} -id {down} {next}");
        Other::start(ns, &command, &[])
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// dnsmasq on `port`, with a range of 10.12.7.x or what `range` says.
    pub fn dnsmasq(ns: &str, port: &str, range: &str) -> Other {
        Other::start(ns, &Other::dnsmasq_command(port, range), &[])
    }

    /// The same by DHCPv6, which names a boot file too.
    pub fn dnsmasq6(ns: &str, port: &str, range: &str) -> Other {
        let boots = " --dhcp-option=option6:bootfile-url,tftp://[fd00:12::9]/other.efi";
        Other::start_on(547, ns, &(Other::dnsmasq_command(port, range) + boots), &[])
    }

    fn dnsmasq_command(port: &str, range: &str) -> String {
        format!(
            "dnsmasq --keep-in-foreground --log-facility=- --log-dhcp --conf-file=/dev/null \
             --port=0 --interface={port} --bind-interfaces --no-ping --user=root \
             --dhcp-leasefile=DIR/leases --pid-file= --dhcp-range={range}"
        )
    }

    /// dhcpd of ISC on `port`.
    pub fn dhcpd(ns: &str, port: &str) -> Other {
        let config = "authoritative; default-lease-time 600; max-lease-time 600;\n\
                      subnet 10.12.0.0 netmask 255.255.0.0 { range 10.12.7.1 10.12.7.50; }\n";
        let command = format!("dhcpd -4 -f -d --no-pid -cf DIR/dhcpd.conf -lf DIR/leases {port}");
        Other::start(ns, &command, &[("dhcpd.conf", config), ("leases", "")])
    }
}

/// Is it a warning, and the text, of the first notice of other servers that is wanted; waits for it so long.
pub fn notice(
    notices: &Notices,
    patience: Duration,
    want: impl Fn(&str) -> bool,
) -> (bool, String) {
    let until = Instant::now() + patience;
    loop {
        let all = notices();
        if let Some(notice) = all.iter().find(|notice| want(&notice.text)) {
            return (notice.warning, notice.text.clone());
        }
        assert!(Instant::now() < until, "{all:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first note that `want` likes; fails after twenty seconds without one.
pub fn noted<T: Clone + Debug>(notes: &Mutex<Vec<T>>, want: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Some(note) = notes.lock().unwrap().iter().find(|note| want(note)) {
            return note.clone();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not seen: {:#?}", notes.lock().unwrap());
}
