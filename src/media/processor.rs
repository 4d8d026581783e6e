//! What this program needs of a processor, asked for before it is needed: an error says more than an illegal instruction.
//!
//! Everything but the parity code chooses its instructions when it runs. That is compiled for one level of x86-64 (see
//! `build.rs`), and all of the program for more than the first level if whoever built it said so with `-C target-cpu`.

use crate::error::{Error, Result};
use std::sync::OnceLock;

/// The level that every x86-64 processor since about 2009 has, and the highest that may travel.
const EVERYWHERE: u8 = 2;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::__cpuid_count;

    #[derive(Clone, Copy)]
    enum Register {
        B,
        C,
    }
    use Register::{B, C};

    /// Something that a processor can do, the level that begins to take it for granted, and where it is announced. Not asked
    /// of the standard library, which believes what it was compiled for.
    struct Feature {
        name: &'static str,
        level: u8,
        compiled: bool,
        leaf: u32,
        register: Register,
        bit: u32,
    }

    macro_rules! features {
        ($($name:tt $level:literal $leaf:literal $register:ident $bit:literal),* $(,)?) => {
            &[$(Feature {
                name: $name,
                level: $level,
                compiled: cfg!(target_feature = $name),
                leaf: $leaf,
                register: $register,
                bit: $bit,
            }),*]
        };
    }

    /// From the levels of the x86-64 psABI.
    static FEATURES: &[Feature] = features![
        "sse3" 2 1 C 0,
        "ssse3" 2 1 C 9,
        "cmpxchg16b" 2 1 C 13,
        "sse4.1" 2 1 C 19,
        "sse4.2" 2 1 C 20,
        "popcnt" 2 1 C 23,
        "lahfsahf" 2 0x8000_0001 C 0,
        "fma" 3 1 C 12,
        "movbe" 3 1 C 22,
        "xsave" 3 1 C 27,
        "avx" 3 1 C 28,
        "f16c" 3 1 C 29,
        "bmi1" 3 7 B 3,
        "avx2" 3 7 B 5,
        "bmi2" 3 7 B 8,
        "lzcnt" 3 0x8000_0001 C 5,
        "avx512f" 4 7 B 16,
        "avx512dq" 4 7 B 17,
        "avx512cd" 4 7 B 28,
        "avx512bw" 4 7 B 30,
        "avx512vl" 4 7 B 31,
    ];

    fn has(feature: &Feature) -> bool {
        let family = feature.leaf & 0x8000_0000;
        if __cpuid_count(family, 0).eax < feature.leaf {
            return false;
        }
        let answer = __cpuid_count(feature.leaf, 0);
        let register = match feature.register {
            B => answer.ebx,
            C => answer.ecx,
        };
        register >> feature.bit & 1 == 1
    }

    fn needed(level: u8) -> impl Iterator<Item = &'static Feature> {
        FEATURES.iter().filter(move |f| f.level <= level || f.compiled)
    }

    /// What a program of this level needs and this processor lacks.
    pub fn lacking(level: u8) -> Vec<&'static str> {
        needed(level).filter(|f| !has(f)).map(|f| f.name).collect()
    }

    /// What a program of this level needs besides what `most` has.
    pub fn beyond(level: u8, most: u8) -> Vec<&'static str> {
        needed(level).filter(|f| f.level > most).map(|f| f.name).collect()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod x86_64 {
    pub fn lacking(_level: u8) -> Vec<&'static str> {
        Vec::new()
    }

    pub fn beyond(_level: u8, _most: u8) -> Vec<&'static str> {
        Vec::new()
    }
}

fn level() -> u8 {
    env!("CKVAULT_X86_64_LEVEL").parse().unwrap_or(EVERYWHERE)
}

/// Whether this processor has all that this program may use.
pub fn check() -> Result<()> {
    let lacking = x86_64::lacking(level());
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Error::refused(
            format!("this processor lacks {}, which this ckvault needs", lacking.join(", ")),
            match level() > EVERYWHERE {
                true => {
                    "take one that was built for x86-64-v2 (README, One file for every machine), or a newer machine"
                }
                false => {
                    "take a newer machine; recover.py beside every set restores it without ckvault, if it is undamaged"
                }
            },
        )),
    }
}

/// How many threads can run at the same time, as it was when this was first asked.
pub fn workers() -> usize {
    static WORKERS: OnceLock<usize> = OnceLock::new();
    *WORKERS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What this program needs that not every processor since about 2009 has; nothing, if it was built to travel.
pub fn rare_needs() -> Vec<&'static str> {
    x86_64::beyond(level(), EVERYWHERE)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::x86_64::{beyond, lacking};

    #[test]
    fn levels_are_told_apart() {
        assert_eq!(lacking(0), lacking(1));
        assert!(beyond(2, 2).iter().all(|name| beyond(1, 2).contains(name)), "{:?}", beyond(2, 2));
        for name in ["avx2", "bmi2", "fma"] {
            assert!(beyond(3, 2).contains(&name) && !beyond(3, 3).contains(&name), "{name}");
        }
        assert!(lacking(4).len() >= lacking(2).len());
    }

    #[test]
    fn this_machine_has_what_the_standard_library_finds() {
        let all = lacking(4);
        for (name, there) in [
            ("ssse3", std::is_x86_feature_detected!("ssse3")),
            ("popcnt", std::is_x86_feature_detected!("popcnt")),
            ("lzcnt", std::is_x86_feature_detected!("lzcnt")),
            ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ] {
            assert_eq!(all.contains(&name), !there, "{name}");
        }
    }
}
