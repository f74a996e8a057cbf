//! The command line (layer 5): arguments, help texts, exit codes. Client commands speak HTTP to
//! the daemon; `check`, `image` and `restore` work on this machine's files.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 `watch` ran out of time.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::lab::{self, LabCommand};

pub mod apply;
pub mod backup;
pub mod bars;
pub mod check;
pub mod client;
pub mod image;
pub mod lines;
pub mod lists;
pub mod operate;
pub mod rack;
pub mod rehearse;
pub mod say;
pub mod screen;
pub mod show;
pub mod sse;
pub mod table;
pub mod watch;

use client::Remote;

/// Where packages put it.
const CONFIG: &str = "/etc/firstlight/firstlight.toml";

/// From racked blades to a running cluster, in one daemon
#[derive(Debug, Parser)]
#[command(name = "firstlight", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Start here:
  firstlight check
  firstlight serve
  firstlight apply racks.toml && firstlight deploy prod-a --watch

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 watch ran out of time.
FIRSTLIGHT_LOG=debug tells more (to stderr).")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: DHCP, TFTP, HTTP, power, web page
    #[command(after_help = "Exit codes: 0 stopped, 1 failed, 2 bad configuration.

Example:
  firstlight serve --config /etc/firstlight/firstlight.toml")]
    Serve(Config),
    /// Say what would keep blades from booting: configuration, ports, interfaces, images, clock
    #[command(after_help = "Works without the daemon, and asks it too if it runs. Exit code 1 if
something is wrong, 2 for a bad configuration.

Example:
  firstlight check --config /etc/firstlight/firstlight.toml")]
    Check(check::CheckArgs),
    /// Write racks, blades and clusters into the inventory: shows the difference first, all or nothing
    #[command(after_help = "What the files do not name stays, unless --prune.

Examples:
  firstlight apply --dry-run racks.toml clusters.toml
  firstlight export | sed s/old/new/ | firstlight apply -")]
    Apply(apply::ApplyArgs),
    /// Print the whole inventory as TOML; applying it again changes nothing
    #[command(after_help = "Example:
  firstlight export > inventory.toml")]
    Export(Remote),
    /// List blades, racks, clusters, topologies, images, leases, events, attempts or discovered machines
    #[command(after_help = "Examples:
  firstlight get blades
  firstlight get blades -o json | jq -r '.[] | select(.class == \"failed\") | .name'")]
    Get(show::GetArgs),
    /// Show all about one thing: for a blade its attempts and its journal
    #[command(after_help = "Example:
  firstlight describe blade r1-c1-b01")]
    Describe(show::DescribeArgs),
    /// Make a machine that waits a blade of the inventory
    #[command(
        after_help = "The machine is told by its MAC (firstlight get discovered). It goes on by itself.
A slot that is taken is taken over only with --take-over: the machine gets the blade's
name, address and role, and the old machine is no longer known.

Examples:
  firstlight rack 52:54:00:00:01:03 --slot r1/c1/3
  firstlight rack 52:54:00:00:01:09 --slot r1/c1/3 --take-over"
    )]
    Rack(rack::RackArgs),
    /// Take a machine off the list of those that wait, until it reports again
    #[command(after_help = "Example:
  firstlight forget 52:54:00:00:01:03")]
    Forget(rack::ForgetArgs),
    /// Print the documents a blade would be sent, without secrets
    #[command(after_help = "Example:
  firstlight render r1-c1-b01 --format cloud-init")]
    Render(show::RenderArgs),
    /// Show what a machine would be told at each step of its boot, and which rule led to it
    #[command(
        after_help = "Nothing is changed by it: real packets, decided as on the wire, and not sent.

Examples:
  firstlight rehearse 52:54:00:00:01:01
  firstlight rehearse 52:54:00:00:01:01 --firmware uefi-x64-http --hex
  firstlight rehearse 52:54:00:00:01:01 --firmware uefi-x64 --ipv6"
    )]
    Rehearse(rehearse::RehearseArgs),
    /// Show what a deploy would do to each blade, and what stands in its way
    #[command(after_help = "Exit code 1 if something stands in the way.

Example:
  firstlight plan prod-a")]
    Plan(operate::PlanArgs),
    /// Install every blade of a cluster: ERASES their disks
    #[command(after_help = "Shows the plan and asks before anything is touched. Nothing begins if
something stands in the way.

Examples:
  firstlight deploy prod-a --watch
  firstlight deploy prod-a --yes")]
    Deploy(operate::DeployArgs),
    /// Follow installations until all blades are ready
    #[command(
        after_help = "On a terminal: a bar for each blade. Otherwise: a line for each change.
Goes on when the daemon is restarted.

Exit codes: 0 all are ready, 1 all that is left has failed, 3 out of time.

Example:
  firstlight watch prod-a --timeout 30m"
    )]
    Watch(watch::WatchArgs),
    /// Install blades anew: ERASES their disks
    #[command(after_help = "Examples:
  firstlight reinstall r1-c1-b03
  firstlight reinstall 'r1-c1-b[04-14]' --yes")]
    Reinstall(operate::ReinstallArgs),
    /// Stop blades where they are: the next boot waits
    #[command(after_help = "A blade that is installed still boots from its disk.

Example:
  firstlight hold 'r1-c1-b[01-03]' --why 'memory is being changed'")]
    Hold(operate::HoldArgs),
    /// Let held blades go on
    #[command(after_help = "Example:
  firstlight release 'r1-c1-b[01-03]'")]
    Release(operate::BladesArgs),
    /// Switch blades on or off, cycle them, or ask
    #[command(after_help = "Examples:
  firstlight power status 'r1-c1-b[01-14]'
  firstlight power cycle r1-c1-b03")]
    Power(operate::PowerArgs),
    /// Boot images of this machine's data_dir: import, verify, list, missing, gc
    #[command(subcommand)]
    #[command(after_help = "A running daemon notices changes by itself.

Example:
  firstlight image import boot-assets/out/debian-12")]
    Image(image::ImageCommand),
    /// Virtual rack: emulated blades on a network of their own
    #[command(subcommand)]
    #[command(after_help = "Example:
  firstlight lab up demo --blades 3 --uefi 1")]
    Lab(LabCommand),
    /// Save the daemon's database and keys in one file
    #[command(
        after_help = "Runs beside the daemon, as its user. Boot images are not saved: keep their
bundles. The file holds secrets.

Example:
  firstlight backup /root/firstlight-backup.jsonl"
    )]
    Backup(backup::BackupArgs),
    /// Put a backup into an empty data_dir and database, of either kind
    #[command(
        after_help = "The daemon must not run. Moves a site from SQLite to PostgreSQL too: restore
with a configuration that names the other database.

Example:
  firstlight restore /root/firstlight-backup.jsonl --config /etc/firstlight/firstlight.toml"
    )]
    Restore(backup::RestoreArgs),
}

#[derive(Debug, Args)]
pub struct Config {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_CONFIG", default_value = CONFIG)]
    pub config: PathBuf,
}

impl Config {
    /// `None` after its problems were told: the exit code is 2.
    fn read(&self) -> Option<crate::config::Config> {
        crate::daemon::read_config(&self.config)
            .inspect_err(|error| eprintln!("firstlight: {error}"))
            .ok()
    }
}

/// Runs what the arguments ask for. To be called from the process's first thread, before there
/// are others: `lab` changes the network namespace, which belongs to a thread.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log(matches!(cli.command, Command::Serve(_)));
    let done = match cli.command {
        Command::Lab(command) => lab::run(command),
        Command::Image(command) => image::run(command),
        other => runtime().and_then(|runtime| runtime.block_on(run(other))),
    };
    done.unwrap_or_else(|error| {
        eprintln!("firstlight: {error:#}");
        ExitCode::FAILURE
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn log(daemon: bool) {
    use std::io::IsTerminal;
    let default = if daemon { "info" } else { "warn" };
    let filter =
        EnvFilter::try_from_env("FIRSTLIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => Ok(crate::daemon::run(&args.config).await),
        Command::Check(args) => check::run(args).await,
        Command::Backup(args) => backup::backup(args).await,
        Command::Restore(args) => backup::restore(args).await,
        Command::Apply(args) => apply::run(args).await,
        Command::Export(remote) => show::export(&remote).await,
        Command::Get(args) => show::get(args).await,
        Command::Describe(args) => show::describe(args).await,
        Command::Rack(args) => rack::rack(args).await,
        Command::Forget(args) => rack::forget(args).await,
        Command::Render(args) => show::render(args).await,
        Command::Rehearse(args) => rehearse::run(args).await,
        Command::Plan(args) => operate::plan(args).await,
        Command::Deploy(args) => operate::deploy(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Reinstall(args) => operate::reinstall(args).await,
        Command::Hold(args) => operate::hold(args).await,
        Command::Release(args) => operate::release(args).await,
        Command::Power(args) => operate::power(args).await,
        Command::Image(_) | Command::Lab(_) => anyhow::bail!("this command needs no runtime"),
    }
}
