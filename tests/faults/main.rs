//! Faults of file systems, injected through the gate that every call passes: each call of a small run fails once, in each way.
//! Whatever happens, nothing that is incomplete looks complete, and the next run goes on or begins anew.

#![forbid(unsafe_code)]

mod export;
mod fake;
mod hints;
mod import;
mod media;
mod only;
mod people;
mod power;
mod probe;
mod swap;
