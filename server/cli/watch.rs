//! `watch`: follows installations until all blades are ready, whatever becomes of the daemon
//! meanwhile.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use clap::Args;
use futures_util::StreamExt;
use jiff::tz::TimeZone;
use tokio::{sync::mpsc, time::Instant};

use super::{
    bars::{self, Rates, Scene},
    client::{Client, ClientError, Remote},
    lines::{Told, failure, standing},
    say::{reader_left, say},
    screen::Screen,
    sse,
    table::span as span_text,
};
use crate::{
    blade::{Event, Millis, Outcome},
    http::view::{BladeView, Overview},
    journal,
};

/// Between two looks at the whole: bytes move every 2 s.
const LOOK: Duration = Duration::from_secs(1);
/// A daemon that is being restarted when `watch` begins is waited for so long.
const FIRST: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only this cluster
    cluster: Option<String>,
    /// Give up after this time (90s, 30m, 2h) with exit code 3
    #[arg(long, value_name = "TIME", value_parser = span)]
    timeout: Option<Duration>,
    /// A line for each change, also on a terminal
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Reads `90`, `90s`, `30m` or `2h`.
pub fn span(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time; write 90s, 30m or 2h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(bad)
}

pub async fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    watch(&client, args.cluster.as_deref(), args.timeout, !args.lines).await
}

/// Follows a cluster, or all clusters.
pub async fn follow(
    client: &Client,
    cluster: Option<&str>,
    timeout: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    watch(client, cluster, timeout, true).await
}

async fn watch(
    client: &Client,
    cluster: Option<&str>,
    timeout: Option<Duration>,
    bars: bool,
) -> anyhow::Result<ExitCode> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let first = first_look(client).await?;
    let blades = of_cluster(&first, cluster)?;
    let (sender, news) = mpsc::channel(256);
    let follower = tokio::spawn(follow_events(client.clone(), first.last_event, sender));
    let screen = (bars && std::io::stdout().is_terminal()).then(Screen::default);
    let mut watcher = Watcher {
        client,
        cluster,
        news,
        told: Told::new(&blades, TimeZone::system()),
        rates: Rates::default(),
        trouble: None,
        began: journal::now(),
        screen,
    };
    let ended = watcher.run(first, deadline).await;
    follower.abort();
    ended
}

async fn first_look(client: &Client) -> Result<Overview, ClientError> {
    let until = Instant::now() + FIRST;
    let mut said = false;
    loop {
        match client.get("/overview").await {
            Err(ClientError::Unreachable { cause, .. }) if Instant::now() < until => {
                if !std::mem::replace(&mut said, true) {
                    eprintln!("firstlight: the daemon does not answer ({cause}); waiting for it");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            other => return other,
        }
    }
}

/// The blades to be watched: those of the cluster, or all that have a role.
fn of_cluster(overview: &Overview, cluster: Option<&str>) -> anyhow::Result<Vec<BladeView>> {
    let known: Vec<&str> = overview.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    if let Some(name) = cluster {
        anyhow::ensure!(
            known.contains(&name),
            "there is no cluster {name:?}; there are: {}",
            known.join(", ")
        );
    }
    let slots = overview
        .racks
        .iter()
        .flat_map(|rack| &rack.chassis)
        .flat_map(|chassis| chassis.slots.iter().flatten());
    let wanted = |view: &&BladeView| match (&view.cluster, cluster) {
        (Some(own), Some(name)) => own.as_str() == name,
        (own, _) => own.is_some(),
    };
    let mut blades: Vec<BladeView> = slots
        .chain(&overview.loose)
        .filter(|view| cluster.is_none() || view.cluster.is_some())
        .filter(wanted)
        .cloned()
        .collect();
    blades.sort_by(|a, b| a.name.cmp(&b.name));
    anyhow::ensure!(
        !blades.is_empty(),
        "no blade has a role, so there is nothing to watch; apply a cluster first"
    );
    Ok(blades)
}

/// What the follower of live events tells.
enum News {
    Event(Box<Event>),
    Lost(String),
    Back,
}

/// Reads the journal's live lines for ever; after a broken connection it goes on with the line
/// after the last one seen. Ends when nobody listens.
async fn follow_events(client: Client, mut after: i64, news: mpsc::Sender<News>) {
    let mut lost = false;
    while !news.is_closed() {
        let why = match client.follow(after).await {
            Ok(answer) => {
                if std::mem::take(&mut lost) && news.send(News::Back).await.is_err() {
                    return;
                }
                read_events(answer, &mut after, &news).await
            }
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        if !std::mem::replace(&mut lost, true) && news.send(News::Lost(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Until the connection ends; says why it did.
async fn read_events(
    answer: reqwest::Response,
    after: &mut i64,
    news: &mpsc::Sender<News>,
) -> String {
    let mut parser = sse::Parser::default();
    let mut body = answer.bytes_stream();
    while let Some(portion) = body.next().await {
        let messages = match portion {
            Ok(bytes) => parser.feed(&bytes),
            Err(error) => return error.to_string(),
        };
        let Ok(messages) = messages else { return "what it sends are no events".to_owned() };
        for message in messages {
            if let Ok(id) = message.id.parse() {
                *after = id;
            }
            // A newer daemon may tell of kinds this program does not know.
            if let Ok(event) = serde_json::from_str(&message.data)
                && news.send(News::Event(event)).await.is_err()
            {
                return String::new();
            }
        }
    }
    "the daemon closed the connection".to_owned()
}

struct Watcher<'a> {
    client: &'a Client,
    cluster: Option<&'a str>,
    news: mpsc::Receiver<News>,
    told: Told,
    rates: Rates,
    trouble: Option<String>,
    began: Millis,
    /// `None`: lines instead of bars.
    screen: Option<Screen>,
}

impl Watcher<'_> {
    async fn run(
        &mut self,
        first: Overview,
        deadline: Option<Instant>,
    ) -> anyhow::Result<ExitCode> {
        let mut blades = of_cluster(&first, self.cluster)?;
        if self.screen.is_none() {
            let zone = TimeZone::system();
            say(&blades.iter().map(|view| standing(view, first.at, &zone)).collect::<String>())?;
        }
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(code) = self.verdict(&blades)? {
                return Ok(code);
            }
            tokio::select! {
                () = sleep_until(deadline) => return self.out_of_time(&blades),
                Some(news) = self.news.recv() => self.take(news)?,
                _ = looks.tick() => {
                    // What cannot be asked now is asked again at the next tick.
                    if let Ok(overview) = self.client.get::<Overview>("/overview").await {
                        blades = of_cluster(&overview, self.cluster)?;
                        self.rates.look(overview.at, &blades);
                    }
                    self.draw(&blades)?;
                }
            }
        }
    }

    fn take(&mut self, news: News) -> anyhow::Result<()> {
        match news {
            News::Event(event) => {
                if let Some(line) = self.told.line(&event)
                    && self.screen.is_none()
                {
                    say(&line)?;
                }
            }
            News::Lost(why) => {
                let text = format!("the daemon does not answer ({why}); waiting for it");
                if self.screen.is_none() {
                    eprintln!("firstlight: {text}");
                }
                self.trouble = Some(text);
            }
            News::Back => {
                if self.screen.is_none() {
                    eprintln!("firstlight: the daemon answers again");
                }
                self.trouble = None;
            }
        }
        Ok(())
    }

    fn draw(&mut self, blades: &[BladeView]) -> anyhow::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let (columns, rows) = screen.size();
        let title =
            self.cluster.map_or("all clusters".to_owned(), |name| format!("cluster {name}"));
        let scene = Scene {
            title: &title,
            now: journal::now(),
            since: self.began,
            trouble: self.trouble.as_deref(),
            columns,
            rows,
        };
        screen.draw(&bars::draw(&scene, blades, &self.rates))
    }

    /// The exit code, once nothing can change any more.
    fn verdict(&mut self, blades: &[BladeView]) -> anyhow::Result<Option<ExitCode>> {
        let ready = blades.iter().filter(|view| view.outcome == Some(Outcome::Ready)).count();
        let failed: Vec<&BladeView> =
            blades.iter().filter(|view| view.outcome == Some(Outcome::Failed)).collect();
        if reader_left() {
            return Ok(Some(ExitCode::FAILURE));
        }
        if ready + failed.len() < blades.len() {
            return Ok(None);
        }
        self.draw(blades)?;
        if failed.is_empty() {
            let began = blades.iter().filter_map(|view| view.started).min();
            let ended = blades.iter().filter_map(|view| view.ended).max();
            let took = began.zip(ended).map(|(began, ended)| {
                format!(" (took {})", span_text(ended.saturating_sub(began)))
            });
            say(&format!("all {ready} blades are ready{}\n", took.unwrap_or_default()))?;
            return Ok(Some(ExitCode::SUCCESS));
        }
        eprintln!("firstlight: {} of {} blades failed:", failed.len(), blades.len());
        failed.iter().for_each(|view| eprint!("{}", failure(view)));
        Ok(Some(ExitCode::FAILURE))
    }

    fn out_of_time(&self, blades: &[BladeView]) -> anyhow::Result<ExitCode> {
        eprintln!("firstlight: out of time; not ready:");
        for view in blades.iter().filter(|view| view.outcome != Some(Outcome::Ready)) {
            eprint!("{}", failure(view));
        }
        Ok(ExitCode::from(3))
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
