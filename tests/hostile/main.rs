//! What a malicious exporter who is trusted can do to who imports: nothing but waste a little time. Sets are composed by hand,
//! and the real binary meets them in a directory of its own, with little memory and little time.

#![forbid(unsafe_code)]

mod cases;
mod compose;
mod edits;
mod field;
mod site;
mod ustar;

mod bombs;
mod changing;
mod honest;
mod later;
mod lies;
mod numbers;
mod paths;
mod pieces;
mod planted;
mod program;
mod recover;
mod sealed;
mod spelling;
mod text;
mod unsigned;
mod verbs;
