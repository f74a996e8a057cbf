//! Machines that wait: `rack` and `forget`.

use std::{net::Ipv4Addr, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{
    client::{Client, Remote},
    lists::text,
    say::{confirmed, plain, say},
    show::Output,
};
use crate::blade::{Hostname, Mac};

#[derive(Debug, Args)]
pub struct RackArgs {
    /// The card it booted from
    mac: Mac,
    /// Where it sits
    #[arg(long, value_name = "RACK/CHASSIS/SLOT", required_unless_present = "name")]
    slot: Option<String>,
    /// The blade's name [default: made of the slot]
    #[arg(long)]
    name: Option<Hostname>,
    /// Its address [default: by the rule of the chassis]
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// Serial or WWN of the disk to install on [default: the only fixed one]
    #[arg(long, value_name = "SERIAL")]
    disk: Option<String>,
    /// Put it in the place of the blade that has this slot or name
    #[arg(long)]
    take_over: bool,
    /// With --take-over: install the blade's role at once, which ERASES this machine's disk
    #[arg(long, requires = "take_over")]
    install: bool,
    /// Do not ask before a take-over
    #[arg(short, long)]
    yes: bool,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The card it booted from
    mac: Mac,
    #[command(flatten)]
    remote: Remote,
}

pub async fn rack(args: RackArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    if args.take_over && !args.yes {
        let place = args.slot.as_deref().or(args.name.as_ref().map(Hostname::as_str));
        let place = plain(place.unwrap_or_default());
        say(&format!(
            "What is at {place} now is no longer known; {} gets its name, address and role.\n",
            args.mac
        ))?;
        if !confirmed("Take over?")? {
            say("nothing was done\n")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    let body = json!({
        "slot": args.slot, "name": args.name, "ip": args.ip, "disk": args.disk,
        "take_over": args.take_over, "install": args.install,
    });
    let answer = client.post(&format!("/discovered/{}/rack", args.mac), &body).await?;
    args.output.show(&answer, "rack", || racked(&answer))?;
    Ok(ExitCode::SUCCESS)
}

fn racked(answer: &Value) -> String {
    let cell = |key: &str| plain(&text(&answer[key]));
    let ip = match cell("ip") {
        ip if ip.is_empty() => "no address of its own".to_owned(),
        ip => ip,
    };
    let mut out = format!("{} is {} now ({ip}): {}\n", cell("mac"), cell("blade"), cell("next"));
    for dropped in answer["dropped"].as_array().into_iter().flatten() {
        out.push_str(&format!("{}\n", plain(&text(dropped))));
    }
    out
}

pub async fn forget(args: ForgetArgs) -> anyhow::Result<ExitCode> {
    Client::new(&args.remote)?.delete(&format!("/discovered/{}", args.mac)).await?;
    say(&format!("{} forgotten; it is listed again when it next reports\n", args.mac))?;
    Ok(ExitCode::SUCCESS)
}
