//! Values of options, as they are typed.

use ckvault::commands::plan::Drives;
use ckvault::stages::compress::Compression;

/// A principal that OpenSSH reads as one word and as no pattern.
pub fn parse_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    match !text.is_empty() && text.len() <= 128 && !text.starts_with(['-', '@']) && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("letters, digits and . _ @ + -, at most 128, for example alice@lab".into()),
    }
}

/// `16+2`.
pub fn parse_parity(text: &str) -> Result<(u16, u16), String> {
    let parse = |n: &str| n.parse::<u16>().map_err(|_| "K+M looks like 16+2".to_owned());
    let (k, m) = text.split_once('+').ok_or("K+M looks like 16+2")?;
    Ok((parse(k)?, parse(m)?))
}

/// `auto`, `zstd`, `zstd:19`, `none`.
pub fn parse_compression(text: &str) -> Result<Compression, String> {
    let level = |level: &str| level.parse().ok().filter(|level| Compression::LEVELS.contains(level));
    let meant = match text.split_once(':') {
        None => {
            [("auto", Compression::Auto), ("zstd", Compression::Zstd(Compression::LEVEL)), ("none", Compression::None)]
                .into_iter()
                .find_map(|(name, meant)| (name == text).then_some(meant))
        }
        Some(("zstd", text)) => level(text).map(Compression::Zstd),
        Some(_) => None,
    };
    meant.ok_or_else(|| "HOW is auto, none, zstd, or zstd:LEVEL with a level from 1 to 19".to_owned())
}

/// `4194304`, `4096K`, `4M`, `1.5G`, `2TiB`; powers of 1024. By `MB` some mean a power of 1000, so nobody is told that it is one.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "sizes look like 512M, 1.5G or 4GiB, in powers of 1024; MB and the like are not taken".to_owned();
    let upper = text.to_ascii_uppercase();
    let unit = upper.find(|c: char| "KMGT".contains(c)).unwrap_or(upper.len());
    let (digits, unit) = upper.split_at(unit);
    let shift = match unit.get(1..) {
        None => 0,
        Some("" | "IB") => "KMGT".find(&unit[..1]).map_or(0, |i| 10 * (i + 1)),
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    if !bytes.is_finite() || !(1.0..=9e15).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// `3x2T`, or `2T` for as many as are needed.
pub fn parse_drives(text: &str) -> Result<Drives, String> {
    let wrong = |why: String| format!("drives look like 3x2T, or 2T for as many as are needed: {why}");
    match text.split_once(['x', 'X']) {
        None => parse_size(text).map(Drives::AsManyOf).map_err(wrong),
        Some((count, size)) => {
            let count = count.parse().ok().filter(|count| (1..=255).contains(count));
            let count: usize = count.ok_or_else(|| wrong("a set has 1 to 255 of them".into()))?;
            parse_size(size).map(|size| Drives::These(vec![size; count])).map_err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_parities() {
        for (text, bytes) in
            [("1", 1), ("4096k", 4 << 20), ("512M", 512 << 20), ("1.5G", 3 << 29), ("4GiB", 4 << 30), ("2TIB", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "1X", "nan", "1e99", "1MB", "1.5gb", "5IB", "5B", "5iB", "1KM", "1MiBi", "1Mi"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_compression("auto"), Ok(Compression::Auto));
        assert_eq!(parse_compression("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(parse_compression("zstd:19"), Ok(Compression::Zstd(19)));
        assert!(["zstd:20", "zstd:0", "zstd:", "auto:3", "lz4", ""].iter().all(|t| parse_compression(t).is_err()));
        assert_eq!(parse_parity("16+2"), Ok((16, 2)));
        assert!(parse_parity("16").is_err() && parse_parity("a+b").is_err());
    }

    #[test]
    fn drives_that_are_thought_of() {
        assert_eq!(parse_drives("2x1K"), Ok(Drives::These(vec![1024, 1024])));
        assert_eq!(parse_drives("1.5T"), Ok(Drives::AsManyOf(3 << 39)));
        for bad in ["", "x", "0x1T", "256x1T", "3x", "x2T", "3x2TB", "-1x2T", "3x2x1T"] {
            assert!(parse_drives(bad).is_err(), "{bad}");
        }
    }
}
