//! Tells the program what its parity code is compiled for. `reed-solomon-erasure` compiles a C kernel for one level of x86-64
//! and never checks the processor; what it does not check, `media/processor.rs` does.

use std::env;

/// What the parity code is compiled for, see `.cargo/config.toml`.
const ARCH: &str = "RUST_REED_SOLOMON_ERASURE_ARCH";
/// What `reed-solomon-erasure` takes if that is not set.
const DEFAULT: &str = "haswell";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={ARCH}");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        println!("cargo::rustc-env=CKVAULT_X86_64_LEVEL=0");
        return;
    }
    let arch = env::var(ARCH).unwrap_or_else(|_| {
        println!("cargo::warning={ARCH} is not set: this ckvault will need a processor with AVX2. For one that runs everywhere, build inside the checkout, or set {ARCH}=x86-64-v2");
        DEFAULT.into()
    });
    let level = match arch.as_str() {
        "x86-64" => 1,
        "x86-64-v2" => 2,
        "x86-64-v3" | "haswell" => 3,
        "x86-64-v4" => 4,
        // What cannot be checked when the program starts would be an illegal instruction there.
        other => panic!("{ARCH}={other}: give x86-64-v2, or x86-64, x86-64-v3, haswell or x86-64-v4"),
    };
    println!("cargo::rustc-env=CKVAULT_X86_64_LEVEL={level}");
}
