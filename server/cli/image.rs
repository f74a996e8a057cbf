//! `image`: the boot images in this machine's data_dir. Needs no daemon; one that runs notices.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    CONFIG,
    lists::listed,
    say::{say, say_json},
    show::{self, Output},
    table::{size, span},
};
use crate::{
    blade::Arch,
    config::Config,
    images::{Images, holds_loaders, import_loaders},
};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Take a boot image in, checked byte by byte: a directory with a bundle.toml, or a .tar of one;
    /// or boot programs: a directory of `make loaders`, or a file of your own
    #[command(
        after_help = "All or nothing: a file that is short or changed leaves the store as it was.
A boot program of your own is named for what it is: it ends in .efi for UEFI, holds arm64 or aa64
for arm64, and signed if Secure Boot firmware accepts it; the file itself is held against that.

Examples:
  firstlight image import build/images/debian-12
  firstlight image import build/loaders
  firstlight image import snponly-vendor.efi"
    )]
    Import {
        #[arg(value_name = "DIR|TAR|FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        store: Store,
    },
    /// Compare what is stored with what was imported
    #[command(after_help = "Exit code 1 if an image is not what was imported.

Example:
  firstlight image verify --shallow")]
    Verify {
        /// Compare sizes only
        #[arg(long)]
        shallow: bool,
        #[command(flatten)]
        store: Store,
    },
    /// List the boot images
    #[command(after_help = "Example:
  firstlight image list -o json")]
    List {
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
        #[command(flatten)]
        store: Store,
    },
    /// Say which files an image has not, for each kind of blade
    #[command(after_help = "Exit code 1 if there is no image that can install a blade.

Example:
  firstlight image missing")]
    Missing {
        #[command(flatten)]
        store: Store,
    },
    /// Remove files that belong to no image any more
    #[command(after_help = "Example:
  firstlight image gc")]
    Gc {
        #[command(flatten)]
        store: Store,
    },
}

/// Where the images are.
#[derive(Debug, Args)]
pub struct Store {
    /// The daemon's configuration, which names data_dir
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// The data_dir itself, instead of a configuration
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Store {
    fn dir(&self) -> Result<PathBuf, ExitCode> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        match crate::daemon::read_config(&self.config) {
            Ok(Config { data_dir, .. }) => Ok(data_dir),
            Err(error) => {
                eprintln!(
                    "firstlight: {error}\nName the right one with --config, or the images' place with --data-dir."
                );
                Err(ExitCode::from(2))
            }
        }
    }

    /// Exit code 2 and a message if the configuration is bad.
    fn open(&self) -> anyhow::Result<Result<Images, ExitCode>> {
        let dir = match self.dir() {
            Ok(dir) => dir,
            Err(code) => return Ok(Err(code)),
        };
        Ok(Ok(Images::open(&dir).with_context(|| format!("boot images in {}", dir.display()))?))
    }
}

pub fn run(command: ImageCommand) -> anyhow::Result<ExitCode> {
    let (ImageCommand::Import { store, .. }
    | ImageCommand::Verify { store, .. }
    | ImageCommand::List { store, .. }
    | ImageCommand::Missing { store }
    | ImageCommand::Gc { store }) = &command;
    if let ImageCommand::Import { bundle, store } = &command
        && holds_loaders(bundle)
    {
        let dir = match store.dir() {
            Ok(dir) => dir,
            Err(code) => return Ok(code),
        };
        let names = import_loaders(&dir, bundle).context("nothing was imported")?;
        say(&format!("imported boot programs: {}\n", names.join(", ")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = match store.open()? {
        Ok(images) => images,
        Err(code) => return Ok(code),
    };
    match command {
        ImageCommand::Import { bundle, .. } => import(&images, &bundle),
        ImageCommand::Verify { shallow, .. } => verify(&images, !shallow),
        ImageCommand::List { output, .. } => list(&images, output),
        ImageCommand::Missing { .. } => missing(&images),
        ImageCommand::Gc { .. } => {
            say(&format!("{} freed\n", size(images.gc()?)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn import(images: &Images, bundle: &std::path::Path) -> anyhow::Result<ExitCode> {
    let mut meter = Meter::new();
    let imported = images.import(bundle, &mut |done, total| meter.show(done, total));
    meter.end();
    let imported = imported.context("nothing was imported")?;
    let set = &imported.set;
    let replaced = imported.replaced.map(|version| format!(", in the place of version {version}"));
    say(&format!(
        "imported {} {} ({} {}, {} files, {}){}\n",
        set.name,
        set.version,
        set.os,
        set.os_version,
        set.artifacts.len(),
        size(imported.bytes),
        replaced.unwrap_or_default()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Progress on a terminal; nothing in a log.
struct Meter {
    began: Instant,
    shown: Option<Instant>,
    visible: bool,
}

impl Meter {
    fn new() -> Meter {
        Meter { began: Instant::now(), shown: None, visible: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64, total: u64) {
        let fresh = self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(200));
        if self.visible && (!fresh || done == total) {
            self.shown = Some(Instant::now());
            let _ =
                write!(std::io::stderr(), "\r\x1b[K{}", metered(done, total, self.began.elapsed()));
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `████░░░░  42%  210 MiB of 500 MiB · 84.0 MiB/s · 3 s left`.
fn metered(done: u64, total: u64, elapsed: Duration) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let filled = usize::try_from(percent / 5).unwrap_or(0).min(20);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled));
    let mut words = vec![format!("{} of {}", size(done), size(total))];
    let millis = elapsed.as_millis().max(1);
    let rate = u64::try_from(u128::from(done) * 1000 / millis).unwrap_or(u64::MAX);
    if rate > 0 && millis > 500 {
        let left = total.saturating_sub(done) / rate;
        words.push(format!("{}/s", size(rate)));
        words.push(format!("{} left", span(i64::try_from(left).unwrap_or(0).saturating_mul(1000))));
    }
    format!("{bar} {percent:>3}%  {}", words.join(" · "))
}

fn verify(images: &Images, deep: bool) -> anyhow::Result<ExitCode> {
    let problems = images.verify(deep)?;
    for problem in &problems {
        eprintln!("firstlight: {problem}");
    }
    if problems.iter().any(|problem| problem.fatal) {
        return Ok(ExitCode::FAILURE);
    }
    let how = if deep { "every byte is as imported" } else { "sizes are as imported" };
    say(&format!("{} images: {how}\n", images.list().len()))?;
    Ok(ExitCode::SUCCESS)
}

fn list(images: &Images, output: Output) -> anyhow::Result<ExitCode> {
    let sets: Value = images.list().iter().map(|set| set.to_json()).collect();
    match output {
        Output::Json => say_json(&sets)?,
        _ => output.show(&sets, "images", || {
            listed(show::Kind::Images, &sets, 0, &jiff::tz::TimeZone::UTC)
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn missing(images: &Images) -> anyhow::Result<ExitCode> {
    let sets = images.list();
    let mut complete = 0;
    for set in &sets {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let lacks: Vec<String> = set.missing(arch).iter().map(ToString::to_string).collect();
            match lacks.len() {
                0 => {
                    complete += 1;
                    say(&format!("{} {arch}: complete\n", set.name))?;
                }
                // Nothing at all for this architecture: it was not meant.
                3 => {}
                _ => say(&format!("{} {arch}: has no {}\n", set.name, lacks.join(", no ")))?,
            }
        }
    }
    if complete == 0 {
        eprintln!(
            "firstlight: no image can install a blade; make one with `make images`, then: firstlight image import DIR"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_shows_bytes_rate_and_time_left() {
        insta::assert_snapshot!(metered(210 << 20, 500 << 20, Duration::from_secs(2)), @"████████░░░░░░░░░░░░  42%  210 MiB of 500 MiB · 105 MiB/s · 2 s left");
        assert!(metered(0, 0, Duration::ZERO).contains("0%"));
    }
}
