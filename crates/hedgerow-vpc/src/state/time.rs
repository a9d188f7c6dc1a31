//! Instants as EC2 writes them. Time is an argument everywhere in `state`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Seconds from `earlier` to this instant; 0 if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Timestamp {
    /// `2026-11-22T20:49:12.000Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Years that start in March make the leap day the last one, and 400 of them a fixed number
        // of days; 1970-01-01 is day 719,468 of that count.
        let days = self.0 / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (dom, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        let year = era * 400 + year + u64::from(month <= 2);
        let second = self.0 % 86_400;
        let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{dom:02}T{h:02}:{m:02}:{s:02}.000Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = BadTimestamp;

    /// The inverse of [`Timestamp`]'s text; fractions of a second are dropped.
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let bad = || BadTimestamp(text.to_owned());
        let (date, time) = text.trim_end_matches('Z').split_once('T').ok_or_else(bad)?;
        let number = |part: &str| part.parse::<u64>().map_err(|_| bad());
        let date = date.split('-').map(number).collect::<Result<Vec<_>, _>>()?;
        let time = time.split('.').next().unwrap_or_default();
        let time = time.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
        let (&[year, month, dom], &[h, m, s]) = (&date[..], &time[..]) else { return Err(bad()) };
        if !(1970..10_000).contains(&year)
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&dom)
            || h > 23
            || m > 59
            || s > 60
        {
            return Err(bad());
        }
        // As in Display: years start in March.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let day = (153 * month + 2) / 5 + dom - 1 + 365 * year + year / 4 - year / 100 + year / 400;
        Ok(Timestamp((day - 719_468) * 86_400 + h * 3_600 + m * 60 + s))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an instant since 1970 (expected YYYY-MM-DDTHH:MM:SS.000Z)")]
pub struct BadTimestamp(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
        }
        for day in 0..80_000 {
            let instant = Timestamp(day * 86_400 + day);
            assert_eq!(instant.to_string().parse(), Ok(instant));
        }
        for text in ["", "T", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "2026-01-01T1:2Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
