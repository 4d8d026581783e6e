//! Keys and lists of signers on a stick: where there are no modes, they cannot be what a file is refused for.

use crate::mount::{Kind, Mount};
use crate::support::*;
use crate::tree::set_mode;
use std::fs;

#[test]
fn what_shows_no_modes_is_warned_of_and_read() {
    for kind in [Kind::Fat, Kind::Exfat, Kind::Ext4] {
        let vault = Vault::new();
        vault.exported(1000, "1+1");
        vault.make(&["out"]);
        let Some(stick) = Mount::new(&vault, "stick", kind) else { continue };
        for (who, name) in [
            ("receiver", "identity.txt"),
            ("receiver", "allowed_signers"),
            ("sender", "signing_key"),
            ("receiver", "recipients.txt"),
        ] {
            fs::write(stick.dir.join(name), fs::read(vault.home(who).join(name)).unwrap()).unwrap();
            // As drivers show all files that have no modes.
            if kind == Kind::Ext4 {
                set_mode(&stick.dir.join(name), 0o777);
            }
        }
        let export = "export checkpoint --to out --recipients stick/recipients.txt --dry-run";
        for (command, secret) in [
            ("verify usb --signers stick/allowed_signers", false),
            ("list usb --signers sender.pub --identity stick/identity.txt", true),
            (&format!("{export} --signing-key home/sender/signing_key"), false),
            (&format!("{export} --signing-key stick/signing_key"), true),
        ] {
            let ran = vault.receiver(command);
            match kind {
                Kind::Ext4 => ran.fails(2).says("others may write"),
                // Its driver shows all as its own.
                Kind::Fat => ran.ok(),
                _ => {
                    ran.check(
                        !secret || ran.stderr.contains("warning: others may read the secret"),
                        "no warning of it",
                    );
                    ran.ok().says("warning: others may write").says("fuseblk keeps no modes")
                }
            };
        }
    }
}
