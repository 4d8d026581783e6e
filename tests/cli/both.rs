//! Tests of damage run with the smallest blocks, and with the largest: what is damaged is then as many times longer.

/// Runs tests with the smallest blocks, and with the largest.
macro_rules! with_both_blocks {
    ($($name:ident)*) => {
        mod small {
            $(#[test] fn $name() { super::$name(crate::harm::BLOCK) })*
        }
        mod large {
            $(#[test] fn $name() { super::$name(16 * crate::harm::BLOCK) })*
        }
    };
}
pub(crate) use with_both_blocks;
