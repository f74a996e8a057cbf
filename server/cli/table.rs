//! Tables, times and sizes for people. Pure: the moment and the time zone are arguments.

use jiff::{Timestamp, tz::TimeZone};

use super::say::plain;
use crate::blade::Millis;

/// Columns that a terminal gives a text: East Asian wide characters take two, combining marks
/// none (UAX #11, its common blocks).
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `text` filled with blanks up to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `text` cut to `columns`, with `…` where something is left out.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| match left.checked_sub(char_width(*c)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// Aligned columns under their heads, two blanks between; an empty cell shows `-`. Cells are
/// made harmless (`say::plain`).
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text) };
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()));
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|text| width(text))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(text, width)| pad(text, *width)).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// `2026-11-20 14:05:12 (3 min ago)`.
pub fn when(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let distance = match now.saturating_sub(at) {
        ..=-1000 => format!("in {}", span(at.saturating_sub(now))),
        -999..=1999 => "now".to_owned(),
        past => format!("{} ago", span(past)),
    };
    format!("{} ({distance})", moment(at, zone))
}

/// `2026-11-20 14:05:12`.
pub fn moment(at: Millis, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(at) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "no time".to_owned(),
    }
}

/// `14:05:12`.
pub fn clock(at: Millis, zone: &TimeZone) -> String {
    moment(at, zone).split_off(11.min(moment(at, zone).len()))
}

/// A duration by its two largest units: `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    let two = |large: i64, unit: &str, small: i64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Bytes in powers of 1024: `512 B`, `3.4 MiB`, `210 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit =
        (0..units.len() - 1).find(|unit| bytes >> (10 * unit) < 1024).unwrap_or(units.len() - 1);
    let whole = bytes >> (10 * unit);
    if unit == 0 || whole >= 100 {
        return format!("{whole} {}", units[unit]);
    }
    let tenths = (bytes >> (10 * (unit - 1))) % 1024 * 10 / 1024;
    format!("{whole}.{tenths} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_for_chinese_too() {
        let rows = vec![
            vec!["simple".to_owned(), "一台机器".to_owned(), "yes".to_owned()],
            vec!["k8s-ha".to_owned(), String::new(), "no\x1b[m".to_owned()],
        ];
        insta::assert_snapshot!(table(&["TOPOLOGY", "TITLE", "AVAILABLE"], &rows), @r"
        TOPOLOGY  TITLE     AVAILABLE
        simple    一台机器  yes
        k8s-ha    -         no�[m
        ");
    }

    #[test]
    fn times_are_local_and_relative() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        let at = 1_790_000_000_000;
        assert_eq!(when(at, at + 200_000, &zone), "2026-09-21 22:13:20 (3 min 20 s ago)");
        assert_eq!(when(at + 7_200_000, at, &zone), "2026-09-22 00:13:20 (in 2 h)");
        assert_eq!(when(at, at, &TimeZone::UTC), "2026-09-21 14:13:20 (now)");
        assert_eq!(clock(at, &zone), "22:13:20");
        assert_eq!(when(i64::MAX, 0, &zone).split(' ').next(), Some("no"));
    }

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes = [0, 1023, 1024, 3_565_158, 230_000_000, 5 << 40, u64::MAX].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "3.3 MiB", "219 MiB", "5.0 TiB", "16777215 TiB"]
        );
        let spans = [-5, 59_999, 60_000, 3_725_000, 90_000_000].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h"]);
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("一台机器", 4), "一…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
