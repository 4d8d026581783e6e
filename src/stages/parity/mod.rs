//! Reed-Solomon over GF(2^8), byte position by byte position: any K volumes of a group give back the others.

mod codec;
mod column;
mod scattered;
mod words;

pub use codec::Codec;
pub use scattered::{Agrees, Found};
