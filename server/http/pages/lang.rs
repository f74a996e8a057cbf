//! The language of a page, and numbers and times as people of that language read them. Pure.

use jiff::{Timestamp, tz::TimeZone};

use super::texts::{Texts, fill};
use crate::blade::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    En,
    Zh,
}

impl Lang {
    /// As in `lang="…"`, `?lang=` and the cookie.
    pub fn tag(self) -> &'static str {
        self.pick("en", "zh")
    }

    pub fn other(self) -> Lang {
        match self {
            Lang::En => Lang::Zh,
            Lang::Zh => Lang::En,
        }
    }

    pub fn pick<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Lang::En => en,
            Lang::Zh => zh,
        }
    }

    fn of(tag: &str) -> Option<Lang> {
        match tag.trim().split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Lang::En),
            "zh" => Some(Lang::Zh),
            _ => None,
        }
    }

    /// `?lang=` wins, then the cookie, then the browser's list (RFC 9110 §12.5.4); else English.
    pub fn choose(query: Option<&str>, cookies: Option<&str>, accept: Option<&str>) -> Lang {
        let cookie = cookies
            .and_then(|all| all.split(';').find_map(|pair| pair.trim().strip_prefix("lang=")));
        let asked = query.and_then(Lang::of).or_else(|| cookie.and_then(Lang::of));
        asked.or_else(|| accept.and_then(preferred)).unwrap_or(Lang::En)
    }
}

fn preferred(accept: &str) -> Option<Lang> {
    let mut best: Option<(Lang, f32)> = None;
    for item in accept.split(',').take(32) {
        let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if let Some(lang) = Lang::of(tag)
            && weight > best.map_or(0.0, |(_, most)| most)
        {
            best = Some((lang, weight));
        }
    }
    best.map(|(lang, _)| lang)
}

/// Words of one language and the clock of one place: what every page is written with.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    pub t: &'static Texts,
    pub zone: &'a TimeZone,
}

impl Words<'_> {
    /// `0.02 s`, `38 s`, `3 min 51 s`, `2 h 5 min`.
    pub fn duration(&self, ms: i64) -> String {
        let (s, min, h) = match self.t.lang {
            Lang::En => (" s", " min", " h"),
            Lang::Zh => (" 秒", " 分", " 小时"),
        };
        let ms = ms.max(0);
        let seconds = ms / 1000;
        match ms {
            0..10 => format!("0{s}"),
            10..100 => format!("{}.{:02}{s}", 0, ms / 10),
            100..10_000 => format!("{seconds}.{}{s}", ms % 1000 / 100),
            10_000..90_000 => format!("{seconds}{s}"),
            90_000..600_000 => format!("{}{min} {}{s}", seconds / 60, seconds % 60),
            600_000..3_600_000 => format!("{}{min}", seconds / 60),
            _ => format!("{}{h} {}{min}", seconds / 3600, seconds % 3600 / 60),
        }
    }

    /// A time left, which is never known to the second: `6 min`.
    pub fn about(&self, ms: i64) -> String {
        match ms {
            ..60_000 => self.duration((ms.max(0) / 5_000 + 1) * 5_000),
            60_000..3_600_000 => self
                .duration((ms + 30_000) / 60_000 * 60_000)
                .replace(" 0 s", "")
                .replace(" 0 秒", ""),
            _ => self.duration(ms),
        }
    }

    pub fn clock(&self, at: Millis) -> String {
        self.format(at, "%H:%M:%S")
    }

    pub fn clock_ms(&self, at: Millis) -> String {
        format!("{}.{:03}", self.clock(at), at.rem_euclid(1000))
    }

    pub fn date(&self, at: Millis) -> String {
        self.format(at, "%Y-%m-%d %H:%M")
    }

    fn format(&self, at: Millis, form: &str) -> String {
        match Timestamp::from_millisecond(at) {
            Ok(at) => at.to_zoned(self.zone.clone()).strftime(form).to_string(),
            Err(_) => "–".to_owned(),
        }
    }

    pub fn blades(&self, n: usize) -> String {
        match n {
            1 => self.t.one_blade.to_owned(),
            _ => fill(self.t.n_blades, &[("n", &n.to_string())]),
        }
    }
}

/// Bytes in powers of 1000, as disks are sold: `512 B`, `7.3 MB`, `1.9 TB`.
pub fn bytes(n: i64) -> String {
    let mut size = n.max(0);
    let mut tenths = 0;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or("B");
    for next in units {
        if size < 1000 {
            break;
        }
        (tenths, size, unit) = (size % 1000 / 100, size / 1000, next);
    }
    if size < 10 && unit != "B" {
        format!("{size}.{tenths} {unit}")
    } else {
        format!("{size} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_asked_for_then_remembered_then_the_browsers() {
        assert_eq!(Lang::choose(Some("zh"), Some("lang=en"), Some("en")), Lang::Zh);
        assert_eq!(Lang::choose(None, Some("a=b; lang=zh"), Some("en")), Lang::Zh);
        assert_eq!(Lang::choose(None, None, Some("fr, zh-CN;q=0.8, en;q=0.5")), Lang::Zh);
        assert_eq!(Lang::choose(None, None, Some("fr;q=x, de")), Lang::En);
        assert_eq!(Lang::choose(Some("<script>"), None, None), Lang::En);
    }

    #[test]
    fn durations_and_sizes_are_read_at_a_glance() {
        let words = Words { t: Texts::of(Lang::En), zone: &TimeZone::UTC };
        let told: Vec<String> = [20, 1400, 38_000, 231_000, 1_200_000, 7_500_000]
            .iter()
            .map(|ms| words.duration(*ms))
            .collect();
        assert_eq!(told, ["0.02 s", "1.4 s", "38 s", "3 min 51 s", "20 min", "2 h 5 min"]);
        assert_eq!(words.about(362_000), "6 min");
        assert_eq!(words.about(38_000), "40 s");
        let sizes: Vec<String> = [0, 999, 7_340_000, 212_000_000, 1_920_383_410_176, i64::MAX]
            .iter()
            .map(|n| bytes(*n))
            .collect();
        assert_eq!(sizes, ["0 B", "999 B", "7.3 MB", "212 MB", "1.9 TB", "9223 PB"]);
        assert_eq!(words.clock_ms(i64::MIN), "–.192");
    }
}
