//! `rehearse`: what a machine would be told at each step of its boot, and why.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use serde_json::Value;

use super::{
    client::{Client, Remote},
    lists::text,
    show::Output,
};
use crate::{blade::Mac, boot::Player};

#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// The MAC that would ask
    mac: Mac,
    /// What would ask [default: what this MAC showed last, else bios, or uefi-x64 by IPv6]
    #[arg(long, value_name = "KIND", value_parser = firmware)]
    firmware: Option<Player>,
    /// Over IPv6: the machine asks by DHCPv6
    #[arg(long)]
    ipv6: bool,
    /// The packets too, in hexadecimal digits
    #[arg(long)]
    hex: bool,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

fn firmware(name: &str) -> Result<Player, String> {
    name.parse()
}

pub async fn run(args: RehearseArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let firmware = args.firmware.map(|kind| format!("&firmware={kind}")).unwrap_or_default();
    let path = format!("/rehearse/{}?ipv6={}{firmware}", args.mac, args.ipv6);
    let value: Value = client.get(&path).await?;
    args.output.show(&value, "rehearsal", || told(&value, args.hex))?;
    Ok(ExitCode::SUCCESS)
}

/// The steps in the order a machine would take them.
fn told(value: &Value, hex: bool) -> String {
    let mut out = String::new();
    let who = match value["blade"].as_str() {
        Some(name) => format!("{} ({name})", text(&value["mac"])),
        None => format!("{}, which is not in the inventory,", text(&value["mac"])),
    };
    let version = if value["ipv6"] == true { " by IPv6" } else { "" };
    let _ = writeln!(out, "{who} as {}{version}", text(&value["firmware"]));
    for stage in value["stages"].as_array().into_iter().flatten() {
        out.push('\n');
        match stage["kind"].as_str() {
            Some("dhcp") => dhcp(&mut out, stage, hex),
            Some("file") => file(&mut out, stage),
            Some("problem") => {
                let _ = writeln!(out, "problem: {}", text(&stage["text"]));
            }
            _ => {
                let _ = writeln!(out, "{}", text(&stage["name"]));
                rule(&mut out, stage);
                indented(&mut out, &text(&stage["text"]));
            }
        }
    }
    out
}

fn dhcp(out: &mut String, stage: &Value, hex: bool) {
    let _ = writeln!(out, "{} by {}", text(&stage["asked"]), text(&stage["as"]));
    if hex {
        let _ = writeln!(out, "  sent: {}", text(&stage["sent"]));
    }
    if stage["answer"].is_null() {
        let _ = writeln!(out, "  no answer: {}", text(&stage["said"]));
        return;
    }
    for field in stage["fields"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  {:<24} {}", text(&field[0]), text(&field[1]));
    }
    rule(out, stage);
    if hex {
        let _ = writeln!(out, "  answer: {}", text(&stage["answer"]));
    }
}

fn file(out: &mut String, stage: &Value) {
    let _ = match stage["bytes"].as_u64() {
        Some(bytes) => writeln!(
            out,
            "{} by {}: {bytes} bytes, SHA-256 {}",
            text(&stage["name"]),
            text(&stage["by"]),
            text(&stage["sha256"])
        ),
        None => writeln!(
            out,
            "{} by {}: is not on this server (firstlight check)",
            text(&stage["name"]),
            text(&stage["by"])
        ),
    };
}

fn rule(out: &mut String, stage: &Value) {
    if let Some(rule) = stage["rule"].as_str().filter(|rule| !rule.is_empty()) {
        let _ = writeln!(out, "  because: {rule}");
    }
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "  | {line}");
    }
}
