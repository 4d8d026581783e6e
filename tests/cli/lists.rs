//! Lists of signers as people and programs write them, well and badly: made by dice.

use crate::dice::Dice;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time and a place.
#[derive(Clone, Copy)]
pub struct Clock {
    /// As `TZ` has it.
    pub zone: &'static str,
    /// In UTC, as `-O verify-time` has it.
    pub now: &'static str,
}

impl Clock {
    pub const UTC: Clock = Clock { zone: "UTC", now: "20261123120000" };
    /// In summer, where clocks are put forward.
    pub const SUMMER: Clock = Clock { zone: "CET-1CEST,M3.5.0,M10.5.0/3", now: "20260701120000" };

    pub fn zone(&self) -> TimeZone {
        if self.zone == "UTC" { TimeZone::UTC } else { TimeZone::posix(self.zone).unwrap() }
    }

    pub fn timestamp(&self) -> Timestamp {
        let t = |from, to| &self.now[from..to];
        let text = format!("{}-{}-{}T{}:{}:{}Z", t(0, 4), t(4, 6), t(6, 8), t(8, 10), t(10, 12), t(12, 14));
        text.parse().unwrap()
    }
}

/// A list, whom to ask for, and when and where.
pub struct List {
    pub bytes: Vec<u8>,
    pub asked: Vec<u8>,
    pub clock: Clock,
}

/// Times about those of the clocks, in their zones and in UTC.
pub const NEAR: [[&str; 7]; 2] = [
    ["20261123", "202611231200", "20261123120000", "20261123115959", "20261123120001", "20261124", "202611231260"],
    [
        "20260701",
        "20260701120000",
        "20260701120001",
        "20260701125959",
        "20260701130000",
        "20260701130001",
        "20260701140000",
    ],
];
const FAR: [&str; 6] = ["20000101", "200001010000", "20200231", "20990101", "20991231235961", "99991231"];
/// Not one is a time that OpenSSH of every version takes.
const ODD: [&str; 14] = [
    "",
    "Z",
    "2026",
    "20261301",
    "20261132",
    "20000100",
    "2000010124",
    "20000101T0000",
    "2000-01-01",
    "+2000101",
    "20000101ZZ",
    "20000101 ",
    "19700101Z",
    "00000101",
];
const SUFFIXES: [&str; 8] = ["", "", "", "Z", "Z", "z", "UTC", "utc"];
/// strptime(3) takes blanks before digits.
const BLANK: [&str; 2] = ["2000 1 1", " 0000101"];

/// The names that a list can have, but for patterns.
pub const NAMES: [&[u8]; 10] = [
    b"alice",
    b"bob",
    b"alice@lab",
    b"bob@lab",
    b"ssh-alice",
    b"ssh-ed25519",
    b"ssh-rsa",
    b"ALICE",
    b"\xe4lice",
    b"#alice",
];
const PATTERNS: [&[u8]; 7] = [b"*", b"?lice", b"al*", b"*@lab", b"*li**e", b"a?*", b"ssh-*"];
const EXCLUDED: [&[u8]; 8] = [b"!alice", b"!*", b"!bob", b"!*@lab", b"!!alice", b"!", b"", b"!carol"];

/// What `ssh-keygen -t` makes besides the key that signs.
pub fn key_types() -> impl Iterator<Item = &'static str> {
    ["ed25519", "rsa", "ecdsa"].into_iter()
}

/// One of `usual`, or, one time in so many, one of `odd`.
fn mostly<'a, T: ?Sized>(dice: &mut Dice, rarely: u64, usual: &[&'a T], odd: &[&'a T]) -> &'a T {
    let all = if dice.below(rarely) == 0 { odd } else { usual };
    all[dice.below(all.len() as u64) as usize]
}

/// A list, mostly of lines that OpenSSH reads.
pub fn list(dice: &mut Dice, own: &str, others: &[String]) -> List {
    let mut bytes = Vec::new();
    let (summer, clock) = *dice.pick(&[(0, Clock::UTC), (1, Clock::SUMMER)]);
    for _ in 0..1 + dice.below(4) {
        bytes.extend(match dice.below(8) {
            0 => dice.pick(&[&b""[..], b"# alice", b" \t# x", b" \t", b"#", b"\"", b"alice", b"alice \xff"]).to_vec(),
            _ => line(dice, &NEAR[summer], own, others),
        });
        bytes.extend_from_slice(mostly(dice, 6, &[&b"\n"[..]], &[b"\r\n", b"\n\n", b" \n", b"\0x\n"]));
    }
    if dice.below(4) == 0 {
        bytes.pop();
    }
    let asked = match dice.below(12) {
        0 => b"a b",
        1 => &b"!alice"[..],
        2 => b"\xef\xbb\xbfalice",
        3..10 => b"alice",
        _ => dice.pick(&NAMES),
    };
    List { bytes, asked: asked.to_vec(), clock }
}

fn line(dice: &mut Dice, near: &[&str], own: &str, others: &[String]) -> Vec<u8> {
    let mut line = mostly(dice, 12, &[&b""[..], b"", b"", b" ", b"\t"], &[b"\xef\xbb\xbf", b"\x0c", b"\x0b"]).to_vec();
    let names = principals(dice);
    // What begins with a carriage return is read otherwise from OpenSSH 9.7 on.
    let between = if names.is_empty() { b" " } else { blanks(dice) };
    line.extend_from_slice(&names);
    line.extend_from_slice(between);
    if dice.below(2) == 0 {
        line.extend(options(dice, near));
        line.extend_from_slice(mostly(dice, 20, &[&b" "[..], b"\t", b"  "], &[b"\r", b"", b", "]));
    }
    line.extend(key(dice, own, others));
    line.extend_from_slice(mostly(
        dice,
        8,
        &[&b""[..], b" comment", b" caf\xe9", b" two words", b"\tc"],
        &[b"\r", b"\x0c", b"\x0cc", b"=", b" \"", b"\0", b"\xa0x", b" # c", b" \xef\xbb\xbf"],
    ));
    line
}

fn blanks(dice: &mut Dice) -> &'static [u8] {
    mostly(dice, 20, &[b" ", b" ", b"\t", b"  ", b" \t "], &[b"\r", b"\x0b", b"\x0c", b"", b"\r \r"])
}

fn principals(dice: &mut Dice) -> Vec<u8> {
    let one = |dice: &mut Dice| match dice.below(6) {
        0 => *dice.pick(&PATTERNS),
        1 => dice.pick(&EXCLUDED),
        2..5 => b"alice",
        _ => dice.pick(&NAMES),
    };
    let all: Vec<&[u8]> = (0..1 + dice.below(3)).map(|_| one(dice)).collect();
    let list = all.join(&b","[..]);
    let quoted = |inside: &[u8]| [b"\"", inside, b"\""].concat();
    match dice.below(24) {
        0 => quoted(b"a b"),
        1 => [b"\"", &list[..]].concat(),
        2 => [&list[..], b"\""].concat(),
        3 => [quoted(&list), b"x".to_vec()].concat(),
        4 => b"al\"ice\"".to_vec(),
        5 => [b"alice,", &quoted(&list)[..]].concat(),
        6 => [&list[..], b","].concat(),
        7 => quoted(&[&list[..], b"\\\""].concat()),
        8 => [b"alice,", &b"a".repeat(1021 + dice.below(4) as usize)[..]].concat(),
        9..12 => quoted(&list),
        _ => list,
    }
}

fn options(dice: &mut Dice, near: &[&str]) -> Vec<u8> {
    let all: Vec<String> = (0..1 + dice.below(3)).map(|_| option(dice, near)).collect();
    let between = mostly(dice, 12, &[","], &[",,", ", ", "", " ,"]);
    let list = all.join(between);
    match dice.below(24) {
        0 => format!("{list},"),
        1 => format!(",{list}"),
        2 => format!("{list}\""),
        _ => list,
    }
    .into_bytes()
}

fn option(dice: &mut Dice, near: &[&str]) -> String {
    match dice.below(16) {
        0..7 => {
            let value = mostly(
                dice,
                3,
                &["ckvault", "git,ckvault", "ck*", "*", "!git,*", "c?vault", "a b,ckvault"],
                &[
                    "git",
                    "git, ckvault",
                    "*,!ckvault",
                    "!git",
                    "",
                    ",",
                    "CKVAULT",
                    "\\\"ckvault",
                    "ck\\vault,ckvault\\\",*",
                ],
            );
            valued(dice, &["namespaces", "NameSpaces"], value)
        }
        7..14 => {
            let time = match dice.below(12) {
                0 => dice.pick(&ODD).to_string(),
                1 => dice.pick(&BLANK).to_string(),
                2..7 => format!("{}{}", dice.pick(near), dice.pick(&SUFFIXES)),
                _ => format!("{}{}", dice.pick(&FAR), dice.pick(&SUFFIXES)),
            };
            match dice.below(16) {
                // Only after: what it means before depends on the version.
                0 => valued(dice, &["valid-after"], "19691231Z"),
                _ => valued(dice, &["valid-after", "valid-before", "valid-before", "Valid-After"], &time),
            }
        }
        14 => {
            mostly(dice, 3, &["cert-authority"], &["CERT-AUTHORITY", "cert-authorityx", "cert-authority=\"x\""]).into()
        }
        _ => (*dice.pick(&[
            "verify-required",
            "no-touch-required",
            "x",
            "x=\"y\"",
            "valid-after",
            "namespaces",
            "=",
            "\\\"",
        ]))
        .into(),
    }
}

fn valued(dice: &mut Dice, names: &[&str], value: &str) -> String {
    let name = dice.pick(names);
    match dice.below(40) {
        0 => format!("{name}={value}"),
        1 => format!("{name}=\"\"{value}\"\""),
        2 => format!("{name}='{value}'"),
        3 => format!("{name}=\"{value}"),
        4 => format!("{name}= \"{value}\""),
        5 => format!("{name}=\"{value}\"x"),
        6 => format!("\"{name}={value}\""),
        _ => format!("{name}=\"{value}\""),
    }
}

fn key(dice: &mut Dice, own: &str, others: &[String]) -> Vec<u8> {
    let (kind, encoded) = own.split_once(' ').unwrap();
    let middle = encoded.len() / 2;
    let (front, back) = encoded.split_at(middle);
    match dice.below(40) {
        0..6 => dice.pick(others).clone(),
        6 => format!("{kind}  \t{encoded}"),
        7 => format!("{kind} {front}\u{c}{back}"),
        8 => format!("{kind} {front}\r{back}"),
        9 => format!("{kind} {front} {back}"),
        10 => format!("{kind} {front}-{}", &back[1..]),
        11 => format!("{kind} {}", &encoded[..encoded.len() - 1]),
        12 => format!("ssh-rsa {encoded}"),
        13 => format!("{} {encoded}", kind.to_uppercase()),
        14 => kind.to_owned(),
        15 => format!("{kind}\u{c}{encoded}"),
        16 => format!("ssh-rsa {kind} {encoded}"),
        17 => format!("{kind}\r {encoded}"),
        _ => own.to_owned(),
    }
    .into_bytes()
}
