//! The virtual rack: emulated blades with empty disks on a bridge of their own
//! in a network namespace, switched on and off over a socket.
//!
//! `lab up` makes it and leaves one process, the *keeper*, which owns the
//! blades' power. All that a lab is lies in one directory; what `down` needs
//! stands in its `state.json` before it is made, so that a lab can be removed
//! whatever died half-way.
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

mod argv;
mod blade;
mod down;
mod emit;
mod exec;
mod firmware;
mod ipv6;
mod keeper;
mod machine;
mod needs;
mod net;
mod plan;
mod router;
mod state;
mod status;
mod up;
mod words;

use firmware::{Firmware, NicRom};
use plan::{LabName, Plan, Wish};
use state::LabDir;
use words::MacPrefix;

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Make a virtual rack: a network of its own and emulated blades, switched off
    Up(UpArgs),
    /// Remove a virtual rack: blades, network, files
    Down {
        name: LabName,
        #[command(flatten)]
        base: Base,
        /// Keep its directory: consoles, disks, logs
        #[arg(long)]
        keep: bool,
        /// Be content where there is no such lab
        #[arg(long)]
        if_exists: bool,
    },
    /// Show the virtual racks, their blades' power and last console lines
    Status {
        /// Only this one
        name: Option<LabName>,
        #[command(flatten)]
        base: Base,
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Run a command in a virtual rack's network
    Exec {
        name: LabName,
        #[command(flatten)]
        base: Base,
        /// Listen here, outside of the lab, and hand the socket to the command
        /// as systemd would (descriptor 3, LISTEN_FDS=1, LISTEN_FDNAMES=ui)
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// The process that `up` leaves running
    #[command(hide = true)]
    Keeper {
        name: LabName,
        #[command(flatten)]
        base: Base,
    },
}

#[derive(Debug, Args)]
pub struct Base {
    /// Where labs have their directories (not in /run: the blades' disks would fill memory)
    #[arg(
        long,
        value_name = "DIR",
        env = "FIRSTLIGHT_LAB_DIR",
        default_value = "/var/lib/firstlight/lab"
    )]
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// The lab's name; several may be up side by side
    name: LabName,
    #[command(flatten)]
    base: Base,
    /// How many blades
    #[arg(long, default_value_t = 3)]
    blades: u8,
    /// How many of them, the last ones, have UEFI firmware
    #[arg(long, default_value_t = 0)]
    uefi: u8,
    /// Firmware of this blade, and its way to boot from the network: bios, or
    /// uefi, uefi-secure (Secure Boot on), arm64, arm64-secure, each with -http
    /// for UEFI HTTP boot or -pxe6 for PXE over IPv6 instead of PXE; repeatable
    #[arg(long, value_name = "BLADE=FIRMWARE", value_parser = firmware::firmware)]
    firmware: Vec<(String, Firmware)>,
    /// Memory of each blade in MB
    #[arg(long, value_name = "MB", default_value_t = 640)]
    memory: u32,
    /// Size of each blade's disk, which takes only what is written to it
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = words::size)]
    disk_size: u64,
    /// The blades' network; the daemon's address is its first
    #[arg(long, value_name = "CIDR", default_value = "10.12.0.0/16")]
    subnet: ipnet::Ipv4Net,
    /// First five octets of the blades' MACs
    #[arg(long, value_name = "PREFIX", default_value = "52:54:00:00:01")]
    mac_prefix: MacPrefix,
    /// The blades' clocks at each power-up, as with an empty battery [default: the right time]
    #[arg(long, value_name = "DATETIME")]
    rtc: Option<jiff::civil::DateTime>,
    /// Give this blade a second empty disk of the same size; repeatable
    #[arg(long, value_name = "BLADE")]
    second_disk: Vec<String>,
    /// Option ROM of this blade's NIC: shipped (iPXE), none, foreign (BIOS: not
    /// iPXE) or a file; repeatable [default: shipped for BIOS, none for UEFI]
    #[arg(long, value_name = "BLADE=ROM", value_parser = firmware::nic_rom)]
    nic_rom: Vec<(String, NicRom)>,
    /// Give this x64 blade's board a BMC, which listens there in the blades'
    /// network: ipmi_sim of OpenIPMI with the codec VM; repeatable
    #[arg(long, value_name = "BLADE=IP:PORT", value_parser = words::bmc)]
    bmc: Vec<(String, SocketAddrV4)>,
    /// Leave IPv6 router solicitations unanswered: iPXE then waits for them, as
    /// on networks without a router
    #[arg(long)]
    no_router_advertisement: bool,
    /// Give the blades' network IPv6 beside IPv4: a router that sends them to
    /// DHCPv6, and an IPv6 address for each blade
    #[arg(long, conflicts_with = "no_router_advertisement")]
    ipv6: bool,
    /// Tell what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Does what was asked, blocking. Not from within an async runtime, and from
/// the process's first thread before it has others: `keeper` and `exec` change
/// the network namespace, which belongs to the thread.
pub fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::Up(args) => run_up(args),
        LabCommand::Down { name, base, keep, if_exists } => {
            say(&down::down(&base.dir, &name, keep, if_exists)?)
        }
        LabCommand::Status { name, base, output } => {
            let labs = status::status(&base.dir, name.as_ref())?;
            match output {
                Output::Json => say(&format!("{}\n", serde_json::to_string_pretty(&labs)?))?,
                Output::Table => say(&status::table(&labs))?,
            };
            let broken = labs.iter().any(|lab| lab.error.is_some());
            Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        LabCommand::Exec { name, base, listen, command } => {
            match exec::exec(&base.dir, &name, listen, &command)? {}
        }
        LabCommand::Keeper { name, base } => keeper::run(&LabDir::new(&base.dir, &name)?),
    }
}

fn run_up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&Wish {
        name: args.name,
        blades: args.blades,
        uefi: args.uefi,
        firmware: args.firmware,
        memory_mb: args.memory,
        disk_bytes: args.disk_size,
        subnet: args.subnet,
        mac_prefix: args.mac_prefix,
        rtc: args.rtc,
        second_disk: args.second_disk,
        bmc: args.bmc,
        nic_rom: args.nic_rom,
        router_advertisement: !args.no_router_advertisement,
        ipv6: args.ipv6,
    })?;
    let report = up::up(&plan, &args.base.dir)?;
    if args.json {
        return say(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    say(&format!(
        "lab {name} is up: {blades} blades ({uefi} of them UEFI), all off, on {subnet} in namespace {namespace}
  blades   {inventory}
  daemon   {config}
  power    {power}
  consoles {consoles}
",
        name = report.name,
        blades = report.blades.len(),
        uefi = plan.blades.iter().filter(|blade| blade.firmware.board.flash().is_some()).count(),
        subnet = plan.subnet,
        namespace = report.namespace,
        inventory = report.inventory.display(),
        config = report.config.display(),
        power = report.power.display(),
        consoles = report.dir.join("consoles").display(),
    ))
}

/// The reader may have gone (`| head`): what was asked is done all the same.
fn say(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
