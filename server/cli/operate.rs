//! What operators do to blades: plan, deploy, reinstall, hold, release, power.

use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, Remote, segment},
    say::{confirmed, plain, say, say_json},
    show::Output,
    table::table,
    watch,
};
use crate::{
    http::view::BladeView,
    inventory::{Place, expand},
};

#[derive(Debug, Args)]
pub struct PlanArgs {
    cluster: String,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    cluster: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Follow it until all blades are ready
    #[arg(short, long)]
    watch: bool,
    /// With --watch: how long
    #[arg(long, value_name = "TIME", value_parser = watch::span)]
    timeout: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct BladesArgs {
    /// Blades; ranges work: r1-c1-b[01-14]
    #[arg(required = true, value_name = "BLADE")]
    blades: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct ReinstallArgs {
    #[command(flatten)]
    blades: BladesArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    #[command(flatten)]
    blades: BladesArgs,
    /// Shown to others until the blade is released
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

#[derive(Debug, Args)]
pub struct PowerArgs {
    operation: PowerOp,
    #[command(flatten)]
    blades: BladesArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PowerOp {
    /// Power up; a blade that is on stays on
    On,
    /// Cut the power at once
    Off,
    /// Off, then on
    Cycle,
    /// Only ask
    Status,
}

/// What a deploy would do, as the daemon tells it.
#[derive(Debug, Deserialize)]
pub struct Plan {
    pub cluster: String,
    pub topology: String,
    pub image: Option<String>,
    pub blades: Vec<PlanStep>,
    pub problems: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct PlanStep {
    pub blade: String,
    pub role: String,
    pub slot: Option<Place>,
    pub macs: Vec<String>,
    pub ip: Option<String>,
    pub arch: String,
    pub disk: String,
    pub now: Option<String>,
    pub power: String,
}

pub async fn plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let value: Value = fetch_plan(&client, &args.cluster).await?;
    let plan: Plan = serde_json::from_value(value.clone())?;
    args.output.show(&value, "plan", || plan_text(&plan))?;
    Ok(if plan.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn fetch_plan(client: &Client, cluster: &str) -> anyhow::Result<Value> {
    Ok(client.get(&format!("/clusters/{}/plan", segment(cluster)?)).await?)
}

/// The plan for people: what happens to which blade and its disk, then what stands in the way.
pub fn plan_text(plan: &Plan) -> String {
    let image = plan.image.as_deref().unwrap_or("(no boot image)");
    let mut out = format!(
        "cluster {}: {} with image {image}\n\n",
        plain(&plan.cluster),
        plain(&plan.topology)
    );
    let rows: Vec<Vec<String>> = plan.blades.iter().map(plan_row).collect();
    out.push_str(&table(
        &["BLADE", "ROLE", "SLOT", "MAC", "IP", "ARCH", "ERASES", "POWER", "NOW"],
        &rows,
    ));
    if !plan.problems.is_empty() {
        out.push_str("\nThis stands in the way:\n");
        out.extend(plan.problems.iter().map(|problem| format!("  {}\n", plain(problem))));
    }
    out
}

fn plan_row(step: &PlanStep) -> Vec<String> {
    let slot = step.slot.as_ref().map(|at| format!("{}/{}/{}", at.rack, at.chassis, at.slot));
    vec![
        step.blade.clone(),
        step.role.clone(),
        slot.unwrap_or_default(),
        step.macs.join(" "),
        step.ip.clone().unwrap_or_default(),
        step.arch.clone(),
        step.disk.clone(),
        step.power.clone(),
        step.now.clone().unwrap_or_else(|| "never installed".to_owned()),
    ]
}

pub async fn deploy(args: DeployArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let plan: Plan = serde_json::from_value(fetch_plan(&client, &args.cluster).await?)?;
    say(&plan_text(&plan))?;
    if !plan.problems.is_empty() {
        eprintln!("firstlight: nothing was begun");
        return Ok(ExitCode::FAILURE);
    }
    let names: Vec<&str> = plan.blades.iter().map(|step| step.blade.as_str()).collect();
    anyhow::ensure!(!names.is_empty(), "cluster {} has no blades", args.cluster);
    say(&format!(
        "\nThe disks of these {} blades will be ERASED: {}\n",
        names.len(),
        names.join(", ")
    ))?;
    if !args.yes && !confirmed(&format!("Deploy {}?", args.cluster))? {
        say("nothing was begun\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let path = format!("/clusters/{}/deploy", segment(&args.cluster)?);
    client.post(&path, &json!({})).await?;
    say(&format!("{} installations begun\n", names.len()))?;
    if args.watch {
        return watch::follow(&client, Some(&args.cluster), args.timeout).await;
    }
    say(&format!("follow them with: firstlight watch {}\n", args.cluster))?;
    Ok(ExitCode::SUCCESS)
}

/// The blades that were named, all known to the daemon: a mistyped name changes nothing.
async fn named(client: &Client, args: &BladesArgs) -> anyhow::Result<Vec<BladeView>> {
    let mut known: Vec<BladeView> = client.get("/blades").await?;
    let mut names = Vec::new();
    for pattern in &args.blades {
        names.extend(expand(pattern).map_err(anyhow::Error::msg)?);
    }
    let unknown: Vec<&String> =
        names.iter().filter(|name| !known.iter().any(|view| view.name.as_str() == *name)).collect();
    anyhow::ensure!(
        unknown.is_empty(),
        "there is no blade {unknown:?}; nothing was done (firstlight get blades)"
    );
    known.retain(|view| names.iter().any(|name| name == view.name.as_str()));
    Ok(known)
}

pub async fn reinstall(args: ReinstallArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.blades.remote)?;
    let blades = named(&client, &args.blades).await?;
    let mut lost = format!(
        "These {} blades will be installed anew, and all on their disks is LOST:\n",
        blades.len()
    );
    lost.extend(blades.iter().map(|view| {
        let role = view.role.as_deref().unwrap_or("without a role");
        let cluster = view
            .cluster
            .as_ref()
            .map(|cluster| format!(" of cluster {cluster}"))
            .unwrap_or_default();
        format!("  {}: {}{cluster}, now {}\n", view.name, plain(role), view.phase)
    }));
    say(&lost)?;
    if !args.yes && !confirmed("Reinstall them?")? {
        say("nothing was begun\n")?;
        return Ok(ExitCode::FAILURE);
    }
    each(&client, &blades, "reinstall", &json!({}), |_| "begins".to_owned()).await
}

pub async fn hold(args: HoldArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.blades.remote)?;
    let blades = named(&client, &args.blades).await?;
    each(&client, &blades, "hold", &json!({ "why": args.why }), |_| "held".to_owned()).await
}

pub async fn release(args: BladesArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let blades = named(&client, &args).await?;
    each(&client, &blades, "release", &json!({}), |_| "released".to_owned()).await
}

pub async fn power(args: PowerArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.blades.remote)?;
    let blades = named(&client, &args.blades).await?;
    let op = args.operation.to_possible_value().map(|value| value.get_name().to_owned());
    let told = |answer: &Value| answer["power"].as_str().unwrap_or("done").to_owned();
    each(&client, &blades, "power", &json!({ "op": op }), told).await
}

/// Asks for the same at every blade, a line each; exit 1 if one of them refuses.
async fn each(
    client: &Client,
    blades: &[BladeView],
    action: &str,
    body: &Value,
    told: impl Fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let asked = stream::iter(blades).map(|view| async move {
        let answer = client.post(&format!("/blades/{}/{action}", view.name), body).await;
        (&view.name, answer)
    });
    // BMCs take their time: not one after the other.
    let mut answers = asked.buffered(16);
    let mut code = ExitCode::SUCCESS;
    while let Some((name, answer)) = answers.next().await {
        match answer {
            Ok(answer) => say(&format!("{name}: {}\n", plain(&told(&answer))))?,
            Err(error) => {
                eprintln!("firstlight: {name}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

impl Output {
    /// Prints `value` as asked; `text` makes the form for people.
    pub fn show(
        self,
        value: &Value,
        key: &str,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match self {
            Output::Table => say(&text()),
            Output::Json => say_json(value),
            Output::Toml => say(&super::show::toml_of(value, key)?),
        }
    }
}
