//! Headers of age files that a trusted exporter has signed, and that are more than they may be.

use crate::cases::{refuse, small};
use crate::compose::{Keys, Segment};
use crate::site::Site;

/// An age file for others as well, whichever kind they are, shows that in its header.
#[test]
fn further_recipients_are_refused() {
    let native = || Box::new(age::x25519::Identity::generate().to_public()) as Box<dyn age::Recipient>;
    let ssh = || Box::new(Keys::new().public().parse::<age::ssh::Recipient>().unwrap()) as Box<dyn age::Recipient>;
    for (place, verbs) in [(0, &["list", "import"][..]), (1, &["import"])] {
        for other in [native(), ssh()] {
            let site = Site::new();
            let mut recipe = small();
            recipe.others[place].push(other);
            site.compose(&recipe, 1);
            site.run("verify").ends(0);
            for verb in verbs {
                let ran = site.run(verb).ends(1);
                assert!(ran.stderr.contains("not encrypted to one recipient alone"), "{ran}");
            }
        }
    }
}

/// Headers that are longer than any may be, each under the signature.
#[test]
fn signed_headers_that_are_too_long() {
    let header = |stanzas: usize| {
        let stanza = format!("-> someone {}\n{}\n", "B".repeat(43), "A".repeat(43));
        format!("age-encryption.org/v1\n{}--- {}\n{}", stanza.repeat(stanzas), "A".repeat(43), "x".repeat(200))
            .into_bytes()
    };
    let listed = |name: &'static str, stanzas: usize| {
        small().with_edit(
            |r| &mut r.edit_listed,
            move |files| files.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, bytes)| *bytes = header(stanzas)),
        )
    };
    let frame = |stanzas: usize| small().segments(move |all| all[0] = Segment::Sealed(header(stanzas)));
    refuse(vec![
        ("a slot", listed("keys.age", 1025), 1, "stanzas of an age file"),
        ("a long slot", listed("keys.age", 100_000), 1, "stanzas of an age file"),
        ("an inventory", listed("inventory.age", 17), 1, "stanzas of an age file"),
        ("a long inventory", listed("inventory.age", 100_000), 1, "stanzas of an age file"),
        ("a frame", frame(17), 1, "stanzas of an age file"),
        ("a long frame", frame(1200), 1, "stanzas of an age file"),
        // Whole, but for nobody.
        ("a slot for strangers", listed("keys.age", 1024), 6, "none of the identities"),
    ]);
}
