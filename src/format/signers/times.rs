//! Times as OpenSSH reads them: `YYYYMMDD[HHMM[SS]]`, then `Z` or `UTC` in any case, or nothing for the time zone of this machine.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

const DAY: i64 = 86_400;
/// Up to here, a month before the year 10000, clocks of every zone are known; after it they are what they are then.
const LAST: i64 = 253_399_622_400;

/// Seconds since 1970; `None` if it is no time, or none after 1970 began.
pub fn parse(text: &[u8], zone: &TimeZone) -> Option<i64> {
    let ends = |with: &[u8]| text.len() > with.len() && text[text.len() - with.len()..].eq_ignore_ascii_case(with);
    let suffix = [&b"Z"[..], b"UTC"].into_iter().find(|suffix| ends(suffix));
    let digits = &text[..text.len() - suffix.map_or(0, <[u8]>::len)];
    if ![8, 12, 14].contains(&digits.len()) {
        return None;
    }
    let field = |at: usize, len: usize, least: i64, most: i64| match digits.get(at..at + len) {
        None => Some(0),
        Some(field) => number(field).filter(|n| (least..=most).contains(n)),
    };
    let (year, month, day) = (field(0, 4, 0, 9999)?, field(4, 2, 1, 12)?, field(6, 2, 1, 31)?);
    let (hour, minute, second) = (field(8, 2, 0, 23)?, field(10, 2, 0, 59)?, field(12, 2, 0, 61)?);
    // The 31st of February is the 3rd of March, and the 61st second is in the next minute: so the C library counts.
    let first = DateTime::new(year as i16, month as i8, 1, 0, 0, 0, 0).ok()?;
    let first = Offset::UTC.to_timestamp(first).ok()?.as_second();
    let there = first + (day - 1) * DAY + hour * 3600 + minute * 60 + second;
    let time = if suffix.is_some() { there } else { there - offset(there, zone)? };
    (time > 0).then_some(time)
}

/// A number that may have blanks before its digits, as strptime(3) takes them.
fn number(field: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(field).ok()?.trim_start_matches(' ');
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Seconds by which clocks are ahead of UTC when they show `there`. OpenSSH takes them to show standard time, in summer too.
fn offset(there: i64, zone: &TimeZone) -> Option<i64> {
    let shown = Offset::UTC.to_datetime(Timestamp::from_second(there.min(LAST)).ok()?);
    let time = zone.to_timestamp(shown).ok()?;
    let now = zone.to_offset_info(time);
    let standard = || zone.preceding(time).find(|change| change.dst().is_std()).map(|change| change.offset());
    let offset = if now.dst().is_dst() { standard().unwrap_or(now.offset()) } else { now.offset() };
    Some(offset.seconds().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<String> {
        parse(text.as_bytes(), &TimeZone::UTC).map(|s| Timestamp::from_second(s).unwrap().to_string())
    }

    #[test]
    fn what_is_a_time() {
        for (text, time) in [
            ("20261123", "2026-11-23T00:00:00Z"),
            ("202611231205Z", "2026-11-23T12:05:00Z"),
            ("20261123120506z", "2026-11-23T12:05:06Z"),
            ("20261123120506utc", "2026-11-23T12:05:06Z"),
            ("20260231Z", "2026-03-03T00:00:00Z"),
            ("20261231235961Z", "2027-01-01T00:00:01Z"),
            ("2026 1 2", "2026-01-02T00:00:00Z"),
            ("20260101000000Z", "2026-01-01T00:00:00Z"),
            ("19700101000001Z", "1970-01-01T00:00:01Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(time), "{text}");
        }
        for bad in [
            "",
            "Z",
            "UTC",
            "2026",
            "20261301",
            "20260001",
            "20260100",
            "20260132",
            "2026010124",
            "202601012400",
            "202601010060",
            "20260101000062",
            "19700101Z",
            "19691231Z",
            "00010101",
            "2026-1-1",
            "+2026010",
            "2026+1+2",
            "20260101+1+2",
            "20260101ZZ",
            "20260101 ",
            "2026\u{661}010",
            "2026101 ",
        ] {
            assert_eq!(utc(bad), None, "{bad}");
        }
        let end = parse(b"99991231235961Z", &TimeZone::UTC);
        assert_eq!((end, parse(b"99991231235961", &TimeZone::UTC)), (Some(253_402_300_801), end));
    }

    #[test]
    fn clocks_show_standard_time() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (text, time) in [
            ("202601011200", "2026-01-01T11:00:00Z"),
            ("202607011200", "2026-07-01T11:00:00Z"),
            ("202607011200Z", "2026-07-01T12:00:00Z"),
            ("202603290230", "2026-03-29T01:30:00Z"),
            ("202610250230", "2026-10-25T01:30:00Z"),
        ] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(parse(text.as_bytes(), &berlin), Some(time.as_second()), "{text}");
        }
    }
}
