//! A few lines at the end of a terminal that are drawn again and again.

use std::os::fd::AsRawFd;

use nix::libc;

use super::say::say;

#[derive(Debug, Default)]
pub struct Screen {
    drawn: usize,
}

impl Screen {
    /// Columns and rows of the terminal; 80 × 24 if it does not say.
    pub fn size(&self) -> (usize, usize) {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ (ioctl_tty(2)) writes one `winsize` to the pointer, which is to one
        // that lives until after the call.
        let asked =
            unsafe { libc::ioctl(std::io::stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
        match (asked, size.ws_col, size.ws_row) {
            (0, 1.., 1..) => (usize::from(size.ws_col), usize::from(size.ws_row)),
            _ => (80, 24),
        }
    }

    /// Puts `lines` in the place of those drawn before, in one write, so that it does not flicker.
    pub fn draw(&mut self, lines: &[String]) -> anyhow::Result<()> {
        let mut text = match self.drawn {
            0 => String::new(),
            // ECMA-48: CPL, then ED to the end of the screen.
            drawn => format!("\x1b[{drawn}F\x1b[J"),
        };
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        say(&text)
    }
}
