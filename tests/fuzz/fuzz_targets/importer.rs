//! The whole importer, see `src/importer.rs`.

#![no_main]

use ckvault_fuzz::importer::Site;
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

thread_local! {
    static SITE: OnceCell<Site> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    SITE.with(|site| site.get_or_init(Site::new).meet(data));
});
