//! Writing to people: a reader that leaves early (`| head`) is no failure, and what came over
//! the network cannot steer their terminal.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

static LEFT: AtomicBool = AtomicBool::new(false);

/// Writes to stdout. When the reader has gone, what was asked is done all the same, unseen.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            LEFT.store(true, Ordering::Relaxed);
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Nobody reads any more: a command that only tells may stop.
pub fn reader_left() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// JSON for scripts, with a line break at its end.
pub fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Asks a person; only `y` or `yes` is yes. Without a terminal nobody can answer: an error that
/// names `--yes`.
pub fn confirmed(question: &str) -> anyhow::Result<bool> {
    anyhow::ensure!(
        io::stdin().is_terminal(),
        "nobody can be asked, because the input is no terminal; add --yes if you are sure"
    );
    say(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// `text` without control characters: names and log lines come from firmware and blades, and an
/// escape sequence among them would be obeyed by the terminal. Line breaks and tabs become
/// blanks.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        // Bidirectional controls reorder what a person reads (UAX #9).
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blades_words_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
    }
}
