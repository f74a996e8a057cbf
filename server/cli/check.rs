//! `check`: what would keep blades from booting, looked at before a blade does.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    CONFIG,
    client::{Client, ClientError, Remote},
    say::say_json,
    show::Output,
    table::table,
};
use crate::{
    blade::Arch,
    config::{Config, DhcpMode},
    daemon::{self, read_config},
    db::Db,
    dhcp, dhcp6,
    http::view::Finding,
    images::{Images, Loaders},
};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// The daemon's API [default: ui.listen of the configuration]
    #[arg(long, env = "FIRSTLIGHT_URL")]
    url: Option<String>,
    /// Who asks, where the daemon wants to know
    #[arg(long, env = "FIRSTLIGHT_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let config = match read_config(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("firstlight: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut findings = vec![Finding::new(
        "ok",
        "configuration",
        format!("{} is understood", args.config.display()),
    )];
    let serving = is_served(&config.data_dir);
    findings.extend(here(&config, serving));
    findings.push(database(&config).await);
    if !serving {
        findings.extend(daemon::proxy_firmware(&config));
        findings.extend(other_servers(&config).await);
    }
    let url = args.url.unwrap_or_else(|| format!("http://{}", config.ui.listen));
    let told = told_by_daemon(&Remote::new(url, args.token), serving).await;
    // The daemon looks at some of the same things.
    let news: Vec<Finding> = told.into_iter().filter(|one| !findings.contains(one)).collect();
    findings.extend(news);
    let broken = findings.iter().any(|finding| finding.level == "error");
    match args.output {
        Output::Json => say_json(&findings)?,
        output => output.show(&serde_json::to_value(&findings)?, "findings", || text(&findings))?,
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Errors first, each with what to do; the last line counts.
pub fn text(findings: &[Finding]) -> String {
    let level = |finding: &&Finding| {
        ["error", "warning"].iter().position(|l| *l == finding.level).unwrap_or(2)
    };
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(level);
    let rows: Vec<Vec<String>> =
        sorted.iter().map(|f| vec![f.level.clone(), f.what.clone(), f.text.clone()]).collect();
    let count = |wanted: &str| findings.iter().filter(|finding| finding.level == wanted).count();
    let table = table(&["", "WHAT", "FOUND"], &rows);
    format!("{table}\n{} errors, {} warnings\n", count("error"), count("warning"))
}

/// What can be seen on this machine without changing anything. `serving`: the daemon of this
/// data_dir runs, so the ports are its own.
pub fn here(config: &Config, serving: bool) -> Vec<Finding> {
    let mut findings = vec![data_dir(&config.data_dir)];
    if config.data_dir.is_dir() {
        findings.push(daemon::space(config));
    }
    findings.extend(config.boot.interfaces.iter().map(|name| daemon::interface(config, name)));
    findings.extend(daemon::boot_programs(&Loaders::open(&config.data_dir)));
    findings.extend(images(&config.data_dir));
    if serving {
        findings.push(Finding::new("ok", "ports", "the daemon has them"));
    } else {
        findings.extend(ports(config));
    }
    findings.push(capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default()));
    findings.push(clock());
    findings
}

/// A daemon holds the lock of its data_dir as long as it runs.
pub fn is_served(data_dir: &Path) -> bool {
    fs::File::open(data_dir.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

fn data_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    match fs::metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::new("ok", "data_dir", format!("{shown} is not there yet; serve makes it"))
        }
        Err(error) => Finding::new("error", "data_dir", format!("{shown}: {error}")),
        Ok(found) if !found.is_dir() => {
            Finding::new("error", "data_dir", format!("{shown} is no directory"))
        }
        // access(2) is not enough: a file system may be mounted read-only or be full.
        Ok(_) => {
            let probe = dir.join(format!(".check-{}", std::process::id()));
            let written = fs::write(&probe, b"firstlight check\n");
            let _ = fs::remove_file(&probe);
            match written {
                Ok(()) => Finding::new("ok", "data_dir", format!("{shown} can be written")),
                Err(error) => {
                    Finding::new("error", "data_dir", format!("{shown} cannot be written: {error}"))
                }
            }
        }
    }
}

fn images(data_dir: &Path) -> Vec<Finding> {
    let what = "boot images";
    let none = || {
        Finding::new(
            "warning",
            what,
            "there is none; make one with `make images`, then: firstlight image import DIR",
        )
    };
    if !data_dir.join("images").is_dir() {
        return vec![none()];
    }
    let images = match Images::open(data_dir) {
        Ok(images) => images,
        Err(error) => return vec![Finding::new("error", what, error.to_string())],
    };
    let mut findings = match images.verify(false) {
        Ok(problems) => problems
            .iter()
            .map(|problem| {
                Finding::new(
                    if problem.fatal { "error" } else { "warning" },
                    what,
                    problem.to_string(),
                )
            })
            .collect(),
        Err(error) => vec![Finding::new("error", what, error.to_string())],
    };
    let sets = images.list();
    findings.extend(sets.is_empty().then(none));
    for set in sets {
        let arches = [Arch::Amd64, Arch::Arm64];
        let complete: Vec<String> = arches
            .iter()
            .filter(|arch| set.missing(**arch).is_empty())
            .map(ToString::to_string)
            .collect();
        findings.push(match complete.len() {
            0 => Finding::new(
                "warning",
                what,
                format!(
                    "{} is not complete for any blade; see: firstlight image missing",
                    set.name
                ),
            ),
            _ => Finding::new(
                "ok",
                what,
                format!("{} {} for {}", set.name, set.version, complete.join(", ")),
            ),
        });
    }
    findings
}

/// Are the ports that `serve` needs free?
fn ports(config: &Config) -> Vec<Finding> {
    let udp = |port: u16, purpose: &str| {
        port_finding(
            &format!("UDP {port} ({purpose})"),
            UdpSocket::bind(("0.0.0.0", port)).map(drop),
        )
    };
    let tcp = |address: SocketAddr, key: &str| {
        port_finding(&format!("TCP {address} ({key})"), TcpListener::bind(address).map(drop))
    };
    let mut findings = Vec::new();
    match config.dhcp.mode {
        DhcpMode::Server => findings.push(udp(67, "DHCP")),
        // Port 67 may be the other server's.
        DhcpMode::Proxy => findings.push(udp(4011, "PXE boot server")),
        DhcpMode::Off => {}
    }
    findings.extend([
        udp(69, "TFTP"),
        tcp(config.boot.http, "boot.http"),
        tcp(config.ui.listen, "ui.listen"),
    ]);
    findings
}

/// `name` is a port, `bound` what came of taking it.
fn port_finding(name: &str, bound: std::io::Result<()>) -> Finding {
    let number: String =
        name.rsplit(':').next().unwrap_or(name).chars().filter(char::is_ascii_digit).collect();
    match bound {
        Ok(()) => Finding::new("ok", "ports", format!("{name} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let text = format!(
                "{name} is taken by another program; find it with: ss -lntup 'sport = :{number}'"
            );
            Finding::new("error", "ports", text)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let text = format!(
                "{name} may not be taken; run as root, or with the capability CAP_NET_BIND_SERVICE"
            );
            Finding::new("error", "ports", text)
        }
        Err(error) => Finding::new("error", "ports", format!("{name}: {error}")),
    }
}

/// What `serve` needs, by bit number (linux/capability.h): ports below 1024; sockets bound to an
/// interface and an ARP entry for a client that has no address yet; packets to such a client.
const CAPABILITIES: [(&str, u32); 3] =
    [("CAP_NET_BIND_SERVICE", 10), ("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13)];

/// `status` is `/proc/self/status`.
pub fn capabilities(status: &str) -> Finding {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Finding::new("warning", "capabilities", "cannot be read from /proc/self/status");
    };
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective >> bit & 1 == 0)
        .map(|(name, _)| *name)
        .collect();
    match missing.as_slice() {
        [] => Finding::new("ok", "capabilities", "all that serve needs"),
        missing => {
            let text = format!(
                "{} missing; run as root, or give them with systemd's AmbientCapabilities=",
                missing.join(", ")
            );
            Finding::new("error", "capabilities", text)
        }
    }
}

/// Blades take their time from here when there is no NTP server.
fn clock() -> Finding {
    // SAFETY: `timex` is plain integers, for which zero is a value; adjtimex(2) with modes 0 only
    // reads, and writes one `timex` to the pointer.
    let state = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        nix::libc::adjtimex(&raw mut timex)
    };
    clock_finding(crate::journal::now(), state != nix::libc::TIME_ERROR && state >= 0)
}

/// 2026-01-01: this program did not exist before.
const TOO_EARLY: i64 = 1_767_225_600_000;

fn clock_finding(now: i64, synchronized: bool) -> Finding {
    if now < TOO_EARLY {
        Finding::new(
            "error",
            "clock",
            "is years late; set it (timedatectl set-time), blades take theirs from here",
        )
    } else if synchronized {
        Finding::new("ok", "clock", "is synchronized")
    } else {
        Finding::new(
            "warning",
            "clock",
            "is not synchronized; install an NTP client (apt-get install chrony)",
        )
    }
}

/// Asks the wire; a daemon does it every minute.
async fn other_servers(config: &Config) -> Vec<Finding> {
    let (interfaces, mode) = (&config.boot.interfaces, config.dhcp.mode);
    if mode == DhcpMode::Off {
        return Vec::new();
    }
    let notices = dhcp::look_around(interfaces, mode, ANSWERS_TAKE);
    let served6 = mode == DhcpMode::Server && !config.subnets6.is_empty();
    let notices6 = dhcp6::look_around(if served6 { interfaces } else { &[] }, ANSWERS_TAKE);
    let (notices, notices6) = tokio::join!(notices, notices6);
    notices.into_iter().chain(notices6).map(daemon::other_servers).collect()
}

/// A server that asks the wire about an address before it offers it needs a few seconds.
const ANSWERS_TAKE: Duration = Duration::from_secs(4);

async fn database(config: &Config) -> Finding {
    match Db::reachable(&config.database, &config.data_dir).await {
        Ok(what) => Finding::new("ok", "database", what),
        Err(error) => Finding::new("error", "database", error.to_string()),
    }
}

async fn told_by_daemon(remote: &Remote, serving: bool) -> Vec<Finding> {
    let asked = match Client::new(remote) {
        Ok(client) => client.get::<Vec<Finding>>("/check").await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(findings) => findings,
        Err(ClientError::Unreachable { .. }) if !serving => {
            vec![Finding::new("ok", "daemon", "does not run; start it with: firstlight serve")]
        }
        Err(error) => vec![Finding::new("warning", "daemon", error.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n").level, "ok");
        let some = capabilities("CapEff:\t0000000000000400\n");
        assert_eq!(some.level, "error");
        assert!(some.text.starts_with("CAP_NET_ADMIN, CAP_NET_RAW missing"), "{}", some.text);
        assert_eq!(capabilities("").level, "warning");
    }

    #[test]
    fn a_taken_port_is_an_error_that_says_how_to_find_who_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = port_finding(
            &format!("TCP {address} (ui.listen)"),
            TcpListener::bind(address).map(drop),
        );
        assert_eq!(found.level, "error");
        assert!(found.text.ends_with(&format!("'sport = :{}'", address.port())), "{}", found.text);
        let found = port_finding("UDP 67 (DHCP)", Err(ErrorKind::AddrInUse.into()));
        assert!(found.text.ends_with("'sport = :67'"), "{}", found.text);
    }

    #[test]
    fn errors_come_first() {
        let findings = [
            Finding::new("ok", "clock", "is synchronized"),
            Finding::new("warning", "disk", "little"),
            Finding::new("error", "ports", "taken"),
        ];
        insta::assert_snapshot!(text(&findings), @r"
                 WHAT   FOUND
        error    ports  taken
        warning  disk   little
        ok       clock  is synchronized

        1 errors, 1 warnings
        ");
    }

    #[test]
    fn a_clock_before_this_program_existed_is_wrong() {
        assert_eq!(clock_finding(0, true).level, "error");
        assert_eq!(clock_finding(TOO_EARLY, false).level, "warning");
        assert_eq!(clock_finding(TOO_EARLY, true).level, "ok");
    }
}
