//! The daemon (layer 5): everything is bound first, everything that runs is joined, and the
//! first failure ends it.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    bmc,
    boot::Rehearse,
    config::{Config, DhcpMode},
    db::Db,
    dhcp,
    http::{self, App, BootKey},
    images::{Images, Loaders},
    journal::Journal,
    tftp,
    topology::{self, Catalogue},
};

mod dhcp6;
mod listeners;
mod metrics;
mod rounds;
mod sightings;
mod surroundings;

pub use surroundings::{boot_programs, findings, interface, other_servers, proxy_firmware, space};

/// Runs until a signal. Exit codes: 0 stopped, 1 failed, 2 bad configuration.
pub async fn run(path: &Path) -> ExitCode {
    let config = match read_config(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("firstlight: {error}");
            return ExitCode::from(2);
        }
    };
    let shutdown = CancellationToken::new();
    match start(config, shutdown.clone()).await {
        Ok(daemon) => daemon.run(shutdown).await,
        Err(error) => {
            eprintln!("firstlight: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a configuration; the error names file, line and key.
pub fn read_config(path: &Path) -> Result<Config, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Config::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

struct Daemon {
    app: http::Shared,
    writer: tokio::task::JoinHandle<()>,
    dhcp: Option<dhcp::Server>,
    dhcp6: Option<crate::dhcp6::Server>,
    tftp: tftp::Server,
    boot: Vec<TcpListener>,
    ui: TcpListener,
    /// Held as long as the daemon runs: one daemon for one `data_dir`.
    _lock: fs::File,
}

async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Daemon> {
    let config = Arc::new(config);
    fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("data_dir {} cannot be made", config.data_dir.display()))?;
    let lock = lock(&config.data_dir)?;
    let boot = listeners::boot(&config)?;
    let ui = ui_listener(config.ui.listen)?;
    let db = Db::open(&config.database, &config.data_dir).await?;
    let (journal, writer) = Journal::start(db, config.clone()).await?;
    let loaders = Loaders::open(&config.data_dir);
    let dhcp = match config.dhcp.mode {
        DhcpMode::Off => None,
        DhcpMode::Server | DhcpMode::Proxy => Some(sightings::bind_dhcp(&config, &journal).await?),
    };
    let dhcp6 = dhcp6::bind(&config, &journal)?;
    let notices = Arc::new(tftp::Notices::default());
    let metrics = metrics::of(dhcp.as_ref(), dhcp6.as_ref(), &notices);
    let served = (dhcp.as_ref(), dhcp6.as_ref());
    let app = app(&config, journal, loaders, served, metrics, shutdown)?;
    let app = Arc::new(app);
    let tftp = sightings::bind_tftp(&config, &app, notices).await?;
    tracing::info!(site = config.site, boot = %config.boot.http, ui = %ui.local_addr()?, "firstlight serves");
    Ok(Daemon { app, writer, dhcp, dhcp6, tftp, boot, ui, _lock: lock })
}

fn app(
    config: &Arc<Config>,
    journal: Journal,
    loaders: Loaders,
    (dhcp, dhcp6): (Option<&dhcp::Server>, Option<&crate::dhcp6::Server>),
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    shutdown: CancellationToken,
) -> anyhow::Result<App> {
    let images = Images::open(&config.data_dir).context("boot images")?;
    let texts = documents(&config.data_dir)?;
    let script = |name: &str| {
        texts.iter().rev().find(|(path, _)| path == name).map(|(_, text)| text.clone())
    };
    let scripts = http::Scripts {
        setup: script("setup.sh").context("cloud-configs/setup.sh is missing")?,
        install: script("install.sh").context("cloud-configs/install.sh is missing")?,
        inventory: script("inventory.sh").context("cloud-configs/inventory.sh is missing")?,
    };
    let catalogue = Catalogue::from_sources(texts).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("cloud-configs:\n{}", lines.join("\n"))
    })?;
    let check = {
        let (config, images, loaders) = (config.clone(), images.clone(), loaders.clone());
        let others = [dhcp.map(dhcp::Server::notices), dhcp6.map(crate::dhcp6::Server::notices)];
        Arc::new(move || {
            let mut findings = findings(&config, &images, &loaders);
            let others = others.iter().flatten().flat_map(|others| others());
            findings.extend(others.map(other_servers));
            findings
        })
    };
    let nobody = || -> Rehearse { Arc::new(|_, _| Vec::new()) };
    Ok(App {
        snapshot: journal.snapshot(),
        journal,
        catalogue,
        images,
        loaders,
        key: BootKey::open(&config.data_dir).context("the key for boot tokens")?,
        boot_url: config.boot.url.clone(),
        scripts,
        told: http::Repeats::default(),
        shutdown,
        rehearse: dhcp.map_or_else(nobody, dhcp::Server::rehearsal),
        rehearse6: dhcp6.map_or_else(nobody, crate::dhcp6::Server::rehearsal),
        check,
        metrics,
    })
}

/// The shipped documents, then the operator's own, which win: path below `cloud-configs`, text.
fn documents(data_dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = topology::embedded();
    let root = data_dir.join("cloud-configs");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| folder.display().to_string())?,
        };
        for entry in entries {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            texts.push((
                name,
                fs::read_to_string(&path).with_context(|| path.display().to_string())?,
            ));
        }
    }
    Ok(texts)
}

/// Keeps other daemons off `data_dir` as long as the file is open.
pub fn lock(data_dir: &Path) -> anyhow::Result<fs::File> {
    let path = data_dir.join("lock");
    let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            anyhow::bail!(
                "another firstlight serves from {}; stop it, or give this one its own data_dir",
                data_dir.display()
            )
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| path.display().to_string())
        }
    }
}

/// The UI's socket: passed by the service manager (sd_listen_fds(3), first descriptor), else our
/// own. The virtual rack passes one, so that people reach a daemon inside a namespace.
fn ui_listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    use std::os::fd::FromRawFd;
    let ours = std::env::var("LISTEN_PID").ok() == Some(std::process::id().to_string());
    let passed = ours && std::env::var("LISTEN_FDS").ok().as_deref() == Some("1");
    let listener = if passed {
        // SAFETY: LISTEN_PID names this process, so by sd_listen_fds(3) descriptor 3 is an open
        // socket that was passed to us and that nothing else here owns; this runs once.
        unsafe { std::net::TcpListener::from_raw_fd(3) }
    } else {
        std::net::TcpListener::bind(address)
            .with_context(|| format!("ui.listen {address} cannot be listened on"))?
    };
    let bound = listener.local_addr().context("the passed UI socket")?;
    anyhow::ensure!(
        bound.ip().is_loopback(),
        "the passed UI socket listens on {bound}, which is not a loopback address"
    );
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

impl Daemon {
    async fn run(self, shutdown: CancellationToken) -> ExitCode {
        let Daemon { app, mut writer, dhcp, dhcp6, tftp, boot, ui, _lock } = self;
        let mut tasks = JoinSet::new();
        if let Some(dhcp) = dhcp {
            tasks.spawn(dhcp.run(shutdown.clone()));
        }
        if let Some(dhcp6) = dhcp6 {
            tasks.spawn(dhcp6.run(shutdown.clone()));
        }
        tasks.spawn(tftp.run(shutdown.clone()));
        for boot in boot {
            tasks.spawn(http::serve(boot, http::boot_router(app.clone()), shutdown.clone()));
        }
        tasks.spawn(http::serve(ui, http::people_router(app.clone()), shutdown.clone()));
        tasks.spawn(bmc::run(app.journal.clone(), app.snapshot.clone(), shutdown.clone()));
        tasks.spawn(rounds::run(app.clone(), shutdown.clone()));
        let failed = tokio::select! {
            () = signalled() => false,
            ended = tasks.join_next() => {
                tracing::error!("a service ended by itself: {ended:?}");
                true
            }
            ended = &mut writer => {
                tracing::error!("the journal ended by itself: {ended:?}");
                true
            }
        };
        shutdown.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a service ended badly: {error}");
            }
        }
        let db = app.journal.db().clone();
        // The last handle: the writer finishes its queue and ends.
        drop(app);
        let end = std::time::Duration::from_secs(5);
        if !writer.is_finished() && tokio::time::timeout(end, writer).await.is_err() {
            tracing::warn!("the journal was still written to");
        }
        db.close().await;
        tracing::info!("firstlight stopped");
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
