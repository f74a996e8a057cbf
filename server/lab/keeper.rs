//! The process that stays while a lab is up: owns the blades' power, answers
//! on the power socket, and starts a blade anew when its guest asks for a reset.
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::blade::{self, Command};
use super::state::{LabDir, Process, State};
use super::{emit, net, router};
use crate::bmc::lab::{Answer, BladePower, LINE_LIMIT, Op, Request};

/// What the keeper writes to its standard output once it answers.
pub const READY: &str = "ready\n";

/// Runs until SIGTERM or SIGINT; the emulators end with it, however it ends.
///
/// Must be called from the process's first thread while it is the only one:
/// the namespace is entered per thread, and the emulators die with this thread.
pub fn run(dir: &LabDir) -> anyhow::Result<ExitCode> {
    let Some(mut state) = dir.load()? else {
        bail!("no lab in {}", dir.path().display());
    };
    // Where the command line has set none, its log would stay empty.
    let _ = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).try_init();
    net::enter(&state.plan.namespace)?;
    std::env::set_current_dir(dir.path())?;
    state.keeper = Process::find(std::process::id());
    dir.save(&state)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(state, dir))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(state: State, dir: &LabDir) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = listen(dir)?;
    let plan = Arc::new(state.plan);
    let mut blades = JoinSet::new();
    let mut switches = HashMap::new();
    for blade in &plan.blades {
        let (switch, commands) = mpsc::channel(8);
        switches.insert(blade.name.clone(), switch);
        blades.spawn(blade::run(plan.clone(), blade.clone(), dir.clone(), commands));
    }
    let rack =
        Arc::new(Rack { order: plan.blades.iter().map(|b| b.name.clone()).collect(), switches });
    let mut clients = JoinSet::new();
    if plan.router_advertisement {
        let prefix = plan.subnet6;
        clients.spawn(async move {
            if let Err(error) = router::advertise(emit::BRIDGE, prefix).await {
                tracing::warn!(%error, "no router advertisements: network boots take longer");
            }
        });
    }
    io::stdout().write_all(READY.as_bytes()).context("telling that the lab is ready")?;
    tracing::info!(lab = %plan.name, blades = plan.blades.len(), "ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(_) = clients.join_next() => {}
            client = listener.accept() => match client {
                Ok((stream, _)) => { clients.spawn(answer(rack.clone(), stream)); }
                Err(error) => tracing::warn!(%error, "power socket"),
            },
        }
    }
    tracing::info!(lab = %plan.name, "going down");
    clients.shutdown().await;
    // With the last switch gone each blade cuts its power and ends.
    drop(rack);
    while blades.join_next().await.is_some() {}
    let _ = std::fs::remove_file(dir.power_socket());
    Ok(())
}

fn listen(dir: &LabDir) -> anyhow::Result<UnixListener> {
    let path = dir.power_socket();
    // Only ever a socket that a keeper of this lab left: `up` makes the directory.
    if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket()) {
        std::fs::remove_file(&path)?;
    }
    UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))
}

struct Rack {
    order: Vec<String>,
    switches: HashMap<String, mpsc::Sender<Command>>,
}

/// One client, until it hangs up or sends what is no line.
async fn answer(rack: Arc<Rack>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut read).take(LINE_LIMIT).read_until(b'\n', &mut line).await;
        if read.is_err() || line.last() != Some(&b'\n') {
            return;
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => rack.obey(request).await,
            Err(error) => refused(format!("not a request: {error}")),
        };
        let Ok(mut bytes) = serde_json::to_vec(&answer) else { return };
        bytes.push(b'\n');
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl Rack {
    async fn obey(&self, Request { op, blade, device }: Request) -> Answer {
        if op == Op::List {
            return self.list().await;
        }
        let Some(blade) = blade else { return refused(format!("{op:?} needs a blade")) };
        if (op == Op::Boot) != device.is_some() {
            return refused("`device` belongs to `boot`, and `boot` needs it".to_owned());
        }
        let Some(switch) = self.switches.get(&blade) else {
            let range = match (self.order.first(), self.order.last()) {
                (Some(first), Some(last)) => format!("{first} to {last}"),
                _ => "none".to_owned(),
            };
            return refused(format!("no blade {blade:?}: the blades are {range}"));
        };
        let (reply, answer) = oneshot::channel();
        let command = Command { op, device, reply };
        match (switch.send(command).await, answer.await) {
            (Ok(()), Ok(Ok(state))) => {
                Answer { ok: true, power: Some(state.power), ..Answer::default() }
            }
            (Ok(()), Ok(Err(reason))) => refused(reason),
            _ => refused("the lab is going down".to_owned()),
        }
    }

    async fn list(&self) -> Answer {
        let mut blades: Vec<BladePower> = Vec::with_capacity(self.order.len());
        for name in &self.order {
            let (reply, answer) = oneshot::channel();
            let command = Command { op: Op::Status, device: None, reply };
            match (self.switches[name].send(command).await, answer.await) {
                (Ok(()), Ok(Ok(state))) => blades.push(state),
                _ => return refused("the lab is going down".to_owned()),
            }
        }
        Answer { ok: true, blades: Some(blades), ..Answer::default() }
    }
}

fn refused(reason: String) -> Answer {
    Answer { ok: false, error: Some(reason), ..Answer::default() }
}
