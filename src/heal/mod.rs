//! Audit, verdict, repair.

pub mod audit;
pub mod diagnose;
pub mod findings;
pub mod metadata;
pub mod repair;
pub mod verdict;
pub mod volumes;
