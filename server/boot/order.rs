//! What a blade is told to do now, whatever program reads it, and what can stand in such texts.

use std::time::Duration;

use super::{grub, ipxe, pxelinux};

/// How long a blade that waits sleeps before it asks again.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A value that cannot stand in a boot script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} cannot stand in a boot script: {why}")]
pub struct ScriptError {
    pub what: &'static str,
    pub value: String,
    pub why: &'static str,
}

/// What is booted: paths on this server, the same for HTTP and TFTP.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The server's URL without a slash at its end.
    pub base: &'a str,
    /// `/images/sha256/…`
    pub kernel: &'a str,
    pub initrd: &'a str,
    pub cmdline: &'a str,
}

/// What a blade is told.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    Install {
        title: &'a str,
        files: Files<'a>,
    },
    /// Boot the blade's own disk.
    Local {
        title: &'a str,
    },
    /// Ask again after ten seconds.
    Wait {
        why: &'a str,
    },
    /// The console menu. `entries` are (id, title); the caller lists `local-boot` among them. A
    /// `timeout` of zero waits for ever.
    Menu {
        title: &'a str,
        entries: &'a [(&'a str, &'a str)],
        default: &'a str,
        timeout: Duration,
    },
}

/// The program that reads an order, and where it asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// The URL of its script.
    Ipxe(String),
    /// How many times it has asked in this boot.
    Grub(u8),
    Pxelinux(pxelinux::Reader),
}

impl Order<'_> {
    /// The text for one program. The error names the value that cannot stand in it.
    pub fn text(&self, reader: &Reader) -> Result<String, ScriptError> {
        match (reader, *self) {
            (Reader::Ipxe(again), Order::Install { title, files }) => {
                ipxe::install(title, &files, again)
            }
            (Reader::Ipxe(_), Order::Local { title }) => Ok(ipxe::local(title)),
            (Reader::Ipxe(again), Order::Wait { why }) => ipxe::hold(why, again),
            (Reader::Ipxe(again), Order::Menu { title, entries, default, timeout }) => {
                ipxe::menu(title, entries, default, timeout, again)
            }
            (Reader::Grub(round), Order::Install { title, files }) => {
                grub::install(title, &files, *round)
            }
            (Reader::Grub(_), Order::Local { title }) => Ok(grub::local(title)),
            (Reader::Grub(round), Order::Wait { why }) => Ok(grub::hold(why, *round)),
            (Reader::Grub(_), Order::Menu { title, entries, default, timeout }) => {
                grub::menu(title, entries, default, timeout)
            }
            (Reader::Pxelinux(of), Order::Install { title, files }) => of.install(title, &files),
            (Reader::Pxelinux(of), Order::Local { title }) => Ok(of.local(title)),
            (Reader::Pxelinux(of), Order::Wait { why }) => Ok(of.hold(why)),
            (Reader::Pxelinux(of), Order::Menu { title, entries, default, timeout }) => {
                of.menu(title, entries, default, timeout)
            }
        }
    }
}

pub fn refuse(what: &'static str, value: &str, why: &'static str) -> ScriptError {
    ScriptError { what, value: value.chars().take(200).collect(), why }
}

/// One word as it stands: no program that reads it makes anything else of it.
pub fn word<'a>(what: &'static str, value: &'a str) -> Result<&'a str, ScriptError> {
    let bad = |why| Err(refuse(what, value, why));
    match value {
        "" => bad("it is empty"),
        _ if !value.bytes().all(|b| b.is_ascii_graphic()) => {
            bad("it holds a blank, a line break or a character that is not ASCII")
        }
        _ if value.contains("${") => bad("iPXE would expand ${"),
        _ if value.contains(['\'', '"']) => bad("a quote would end a word of GRUB's"),
        _ if value.starts_with('#') => bad("a word beginning with # starts a comment"),
        _ if value.ends_with('\\') => bad("a backslash at its end would join the next line"),
        "||" | "&&" => bad("it divides commands"),
        _ => Ok(value),
    }
}

/// Words as they stand, one blank between them; may be empty.
pub fn words(what: &'static str, value: &str) -> Result<String, ScriptError> {
    if value.contains(|c: char| c.is_control()) {
        return Err(refuse(what, value, "it holds a control character"));
    }
    let checked: Result<Vec<&str>, _> =
        value.split(' ').filter(|part| !part.is_empty()).map(|part| word(what, part)).collect();
    Ok(checked?.join(" "))
}

pub fn identifier<'a>(what: &'static str, value: &'a str) -> Result<&'a str, ScriptError> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if value.is_empty() || value.starts_with('-') || !value.bytes().all(legal) {
        return Err(refuse(what, value, "an id is a-z, 0-9 and hyphens, no hyphen first"));
    }
    Ok(value)
}

/// Text for people: harmless, one line, at most 200 characters.
pub fn people(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(200)
        .map(|c| match c {
            '$' | '|' | '&' | '#' | '\\' | '`' | '\'' | '"' | '^' => '.',
            c if c == ' ' || c.is_ascii_graphic() => c,
            c if c.is_whitespace() || c.is_control() => ' ',
            _ => '?',
        })
        .collect();
    // A first word such as --delay would be read as an option of echo, item or menu.
    clean.trim_start_matches(['-', ' ']).trim_end().to_owned()
}
